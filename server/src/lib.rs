//! The servers of this machine: a static host ([`Site`]) and a Hugging Face Hub that fails on demand ([`Hub`]).
//!
//! hyper speaks HTTP and tower-http sends files. Written here is what a library has no use for: answers that are wrong, cut or
//! late ([`faults`]), and a log that says how many bytes have left this program ([`wire`]).

mod answer;
mod faults;
mod files;
mod hub;
mod log;
mod orders;
mod routes;
mod sending;
mod site;
mod wire;

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::runtime::Runtime;

pub use faults::{Kind, Rule};
pub use hub::{Folder, Hub, OUTSIDER, Repo, TOKEN};
pub use log::Asked;
pub use orders::obey;
pub use site::{Serving, Site};

use wire::{Observed, Wire};

type Failure = Box<dyn std::error::Error + Send + Sync>;
type Body = UnsyncBoxBody<Bytes, Failure>;
type Answer = Response<Body>;

/// Opens a port of this machine only, and returns its address; port 0 picks a free one. An answer that is an error closes the
/// connection without a word.
fn listen<F>(
    runtime: &Runtime,
    port: u16,
    answer: impl Fn(Request<Incoming>, Wire) -> F + Clone + Send + Sync + 'static,
) -> io::Result<SocketAddr>
where
    F: Future<Output = Result<Answer, Failure>> + Send + 'static,
{
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let _inside = runtime.enter();
    let listener = tokio::net::TcpListener::from_std(listener)?;
    runtime.spawn(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else { continue };
            // Nagle's algorithm would hold the small pieces of a slow answer back.
            let _ = stream.set_nodelay(true);
            let wire = Wire::default();
            let io = TokioIo::new(Observed::new(stream, wire.clone()));
            let answer = answer.clone();
            tokio::spawn(async move {
                let service = service_fn(move |request| answer(request, wire.clone()));
                // A visitor who hangs up in the middle is no error of the server.
                let _ = http1::Builder::new().serve_connection(io, service).await;
            });
        }
    });
    Ok(address)
}

/// The threads that answer, until they are dropped.
fn runtime() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()
}

/// An error of a body that has none.
fn never(error: Infallible) -> Failure {
    match error {}
}
