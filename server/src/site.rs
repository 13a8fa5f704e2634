//! A static host for `cargo xtask serve`, the benchmark and the end-to-end tests.
//!
//! It does what any static host does (types, ranges, index files), but nothing that some lack (no headers that enable
//! cross-origin isolation, no compression), so that a page that works here works there.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CACHE_CONTROL, HeaderValue, LOCATION, X_CONTENT_TYPE_OPTIONS};
use hyper::{Method, Request, Response, StatusCode};
use tokio::runtime::Runtime;
use tower_http::services::ServeDir;

use crate::{Answer, Failure, listen, never, runtime};

/// The longest result that a page may post.
const MAX_BODY_BYTES: usize = 16 << 20;

/// The served folders and their settings.
pub struct Site {
    /// The folders in which a file is searched, in this order.
    pub folders: Vec<PathBuf>,
    /// The path of the site.
    pub base: String,
    /// The receiver of results that pages post to `__result`; if `None`, posting is refused.
    pub results: Option<Sender<String>>,
}

/// A site that runs until this is dropped.
pub struct Serving {
    address: SocketAddr,
    base: String,
    _runtime: Runtime,
}

impl Serving {
    /// The site's address, with a slash at its end.
    pub fn url(&self) -> String {
        format!("http://{}{}", self.address, self.base)
    }
}

impl Site {
    /// Serves the site on a port of this machine only; port 0 picks a free one.
    pub fn serve(mut self, port: u16) -> io::Result<Serving> {
        self.base = format!("/{}/", self.base.trim_matches('/')).replace("//", "/");
        let (base, site, runtime) = (self.base.clone(), Arc::new(self), runtime()?);
        let address = listen(&runtime, port, move |request, _| site.clone().answer(request))?;
        Ok(Serving { address, base, _runtime: runtime })
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Result<Answer, Failure> {
        let mut answer = self.find(request).await?;
        // A build replaces files under the same names, so browsers must check each time.
        answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        answer.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        Ok(answer)
    }

    async fn find(&self, request: Request<Incoming>) -> Result<Answer, Failure> {
        let path = request.uri().path();
        let Some(below) = path.strip_prefix(&self.base).map(str::to_owned) else {
            let is_base = self.base.strip_suffix('/') == Some(path);
            return if is_base { redirect(&self.base) } else { text(StatusCode::NOT_FOUND) };
        };
        if let (&Method::POST, Some(results), "__result") = (request.method(), &self.results, below.as_str()) {
            let body = Limited::new(request.into_body(), MAX_BODY_BYTES).collect().await?.to_bytes();
            // The receiver may be gone.
            drop(results.send(String::from_utf8_lossy(&body).into_owned()));
            return text(StatusCode::OK);
        }
        for folder in &self.folders {
            let mut asked = Request::builder().method(request.method()).uri(format!("/{below}")).body(Empty::<Bytes>::new())?;
            asked.headers_mut().clone_from(request.headers());
            // There is no file of that name, or the file system does not allow the name.
            let Ok(answer) = ServeDir::new(folder).try_call(asked).await else { continue };
            if answer.status().is_redirection() && answer.headers().contains_key(LOCATION) {
                // The address of a folder lacks its slash. The library does not know the base, so the redirect is
                // made here.
                return redirect(&format!("{path}/"));
            }
            if answer.status() != StatusCode::NOT_FOUND {
                return Ok(answer.map(|body| body.map_err(Failure::from).boxed_unsync()));
            }
        }
        text(StatusCode::NOT_FOUND)
    }
}

fn redirect(to: &str) -> Result<Answer, Failure> {
    let mut answer = text(StatusCode::MOVED_PERMANENTLY)?;
    answer.headers_mut().insert(LOCATION, HeaderValue::from_str(to)?);
    Ok(answer)
}

fn text(status: StatusCode) -> Result<Answer, Failure> {
    Ok(Response::builder().status(status).body(Full::new(Bytes::from(status.to_string())).map_err(never).boxed_unsync())?)
}
