//! A Hub as a process: it reads orders as lines of JSON, and answers each with a line.

use std::io::{self, BufRead, Write};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::faults::Rule;
use crate::hub::{Folder, Hub, Repo};

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
enum Order {
    Publish { id: String, repo: Repo },
    AddFolder { name: String, folder: Folder },
    Fail(Rule),
    Clear,
    Requests,
    Forget,
}

/// Starts a Hub, reports its address, and obeys until the orders end.
pub fn obey(orders: impl BufRead, mut answers: impl Write) -> io::Result<()> {
    let hub = Hub::start()?;
    let mut say = |answer: &Value| {
        writeln!(answers, "{answer}")?;
        answers.flush()
    };
    say(&json!({ "url": hub.url }))?;
    for order in orders.lines() {
        let done = serde_json::from_str(&order?).map_err(io::Error::from).and_then(|order| carry_out(&hub, order));
        say(&done.unwrap_or_else(|why| json!({ "error": why.to_string() })))?;
    }
    Ok(())
}

fn carry_out(hub: &Hub, order: Order) -> io::Result<Value> {
    Ok(match order {
        Order::Publish { id, repo } => json!({ "revision": hub.publish(&id, &repo)? }),
        Order::AddFolder { name, folder } => {
            hub.add_folder(&name, folder)?;
            json!({})
        }
        Order::Fail(rule) => {
            hub.fail(rule);
            json!({})
        }
        Order::Clear => {
            hub.clear();
            json!({})
        }
        Order::Requests => json!({ "requests": hub.requests() }),
        Order::Forget => {
            hub.forget();
            json!({})
        }
    })
}
