//! Any bytes from a peer: a request, and its body as messages that master and agent take.
#![no_main]

use mesos_api::libprocess::{Decoder, dialect};
use mesos_api::{decode, internal, v1};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = dialect(bytes);
    let mut decoder = Decoder::new(1 << 16);
    decoder.buffer().extend_from_slice(bytes);
    while let Ok(Some(request)) = decoder.next_request() {
        body(&request.body);
    }
    body(bytes);
});

fn body(bytes: &[u8]) {
    let _ = decode::<internal::RegisterSlaveMessage>(bytes);
    let _ = decode::<v1::scheduler::Call>(bytes);
    let _ = mesos_api::json::from_slice::<v1::scheduler::Call>(bytes);
}
