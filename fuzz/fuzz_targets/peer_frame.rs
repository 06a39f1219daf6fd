//! Any bytes as what another machine sends: lengths, head, and the head as each kind of message.
#![no_main]

use std::time::Duration;

use haul_fuzz::choice;
use libfuzzer_sys::fuzz_target;
use peer::{
    Reply, Request,
    frame::{self, FRIEND, PREFIX, STRANGER},
    message::{Envelope, Hello},
};

const SOON: Duration = Duration::from_secs(5);

fuzz_target!(|data: &[u8]| {
    let Some((mode, rest)) = choice(data) else { return };
    let bounds = if mode & 1 == 1 { STRANGER } else { FRIEND };
    // Half of them with lengths that fit, so that the head is reached.
    let whole;
    let bytes = if mode & 2 == 2 {
        whole = [&(rest.len() as u32).to_be_bytes()[..], &[0; 4], rest].concat();
        &whole[..]
    } else {
        rest
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let Ok(Some(found)) = runtime.block_on(frame::read(&mut &*bytes, bounds, SOON, SOON, || {})) else { return };
    assert!(found.body.len() <= bounds.body && PREFIX + found.body.len() <= bytes.len());
    let _ = (found.head::<Hello>(), found.head::<Envelope<Request>>());
    // A message that was parsed can be sent again, and means the same.
    if let Ok(reply) = found.head::<Envelope<Reply>>() {
        let said = frame::opening(&reply, 0).expect("it can be said");
        let again = runtime.block_on(frame::read(
            &mut &*said,
            frame::Bounds { head: usize::MAX >> 1, body: 0 },
            SOON,
            SOON,
            || {},
        ));
        let again = again.expect("it was said").expect("it was said whole");
        assert_eq!(again.head::<Envelope<Reply>>().expect("it is understood").message, reply.message);
    }
});
