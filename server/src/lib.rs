//! The servers for this machine: a static host ([`Site`]) and a Hugging Face Hub that fails on demand ([`Hub`]).
//!
//! hyper handles HTTP and tower-http sends files. This crate adds faulty, interrupted and late answers ([`faults`]),
//! and a log of the bytes that have left this program ([`wire`]).

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

/// Opens a port of this machine only, and returns its address; port 0 picks a free one. If an answer is an error, the
/// connection is closed without a reply.
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
            // Nagle's algorithm would delay the small pieces of a slow answer.
            let _ = stream.set_nodelay(true);
            let wire = Wire::default();
            let io = TokioIo::new(Observed::new(stream, wire.clone()));
            let answer = answer.clone();
            tokio::spawn(async move {
                let service = service_fn(move |request| answer(request, wire.clone()));
                // A visitor who disconnects is not an error of the server.
                let _ = http1::Builder::new().serve_connection(io, service).await;
            });
        }
    });
    Ok(address)
}

/// The threads that answer, stopped when this is dropped.
fn runtime() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()
}

/// The error type of a body that cannot fail.
fn never(error: Infallible) -> Failure {
    match error {}
}
