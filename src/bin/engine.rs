//! The engine's Web Worker: messages in, messages out, one request at a time.

#[cfg(target_family = "wasm")]
#[allow(unsafe_code, reason = "the linker's own constructor function, called once")]
mod worker {
    use std::cell::{Cell, RefCell};
    use std::collections::VecDeque;
    use std::rc::Rc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use linchpin::engine::Engine;
    use linchpin::job::control::Control;
    use linchpin::platform::hold_a_lock;
    use linchpin::protocol::boundary::{event_to_js, from_js};
    use linchpin::protocol::{Envelope, Event, PROTOCOL_VERSION, Request};
    use linchpin::terms::{Failure, Help, Problem};
    use wasm_bindgen::prelude::*;
    use wasm_bindgen_futures::spawn_local;
    use web_sys::{DedicatedWorkerGlobalScope, MessageEvent};

    unsafe extern "C" {
        /// Runs every static constructor. The linker creates this function.
        fn __wasm_call_ctors();
    }

    /// Number of times that the static constructors ran.
    static CONSTRUCTOR_RUNS: AtomicU32 = AtomicU32::new(0);

    extern "C" fn count_constructor_run() {
        CONSTRUCTOR_RUNS.fetch_add(1, Ordering::Relaxed);
    }

    #[used]
    #[unsafe(link_section = ".init_array")]
    static COUNT_CONSTRUCTOR_RUN: extern "C" fn() = count_constructor_run;

    /// Number of times that the static constructors ran. It stays 1 for any number of calls to exports; the browser
    /// tests check it.
    #[wasm_bindgen]
    pub fn constructor_runs() -> u32 {
        CONSTRUCTOR_RUNS.load(Ordering::Relaxed)
    }

    pub fn main() {
        // Burn and CubeCL register thousands of constructors. If nobody calls this function, the linker makes every
        // export call it first, and each call into the engine costs 14 ms instead of 0.2.
        // SAFETY: called once, before anything else of this module runs.
        unsafe { __wasm_call_ctors() };
        report_panics();
        let listener = Rc::new(Listener::new());
        let on_message = Closure::<dyn Fn(MessageEvent)>::new(move |message: MessageEvent| listener.clone().receive(message));
        scope().set_onmessage(Some(on_message.as_ref().unchecked_ref()));
        on_message.forget();
        hold_a_lock(|lock| post(None, Event::Ready { protocol_version: PROTOCOL_VERSION, lock }));
    }

    fn scope() -> DedicatedWorkerGlobalScope {
        js_sys::global().unchecked_into()
    }

    fn post(id: Option<u32>, event: Event) {
        // Posting fails only if the page is gone.
        let _ = scope().post_message(&event_to_js(id, event));
    }

    /// Reports a panic to the page before it ends the worker.
    fn report_panics() {
        std::panic::set_hook(Box::new(|info| {
            post(None, Event::Failed(Failure::new(Problem::EngineCrashed, info.to_string())));
        }));
    }

    /// The queue of requests, in their order. "Stop" skips the queue.
    struct Listener {
        control: Control,
        engine: RefCell<Option<Engine>>,
        waiting: RefCell<VecDeque<Envelope>>,
        current: Rc<Cell<Option<u32>>>,
    }

    impl Listener {
        fn new() -> Self {
            let current = Rc::new(Cell::new(None));
            let id = current.clone();
            let control = Control::new(move |event| post(id.get(), event));
            Self { engine: RefCell::new(Some(Engine::new(control.clone()))), control, waiting: RefCell::default(), current }
        }

        fn receive(self: Rc<Self>, message: MessageEvent) {
            match from_js::<Envelope>(message.data()) {
                Ok(Envelope { request: Request::Stop, .. }) => {
                    // What a helper has not begun is not wanted any more.
                    self.waiting.borrow_mut().retain(|waiting| !matches!(waiting.request, Request::Help(Help::Measure { .. })));
                    self.control.request_stop();
                }
                Ok(envelope) => {
                    self.waiting.borrow_mut().push_back(envelope);
                    spawn_local(self.work());
                }
                Err(error) => post(None, Event::Failed(Failure::new(Problem::RequestUnknown, error.to_string()))),
            }
        }

        /// Handles the waiting requests, unless another call is already doing so.
        async fn work(self: Rc<Self>) {
            let Some(mut engine) = self.engine.take() else { return };
            loop {
                let Some(Envelope { id, request }) = self.waiting.borrow_mut().pop_front() else { break };
                self.current.set(Some(id));
                engine.handle(request).await;
                self.current.set(None);
            }
            self.engine.replace(Some(engine));
        }
    }
}

fn main() {
    #[cfg(target_family = "wasm")]
    worker::main();
}
