//! What a tenant reads is a class and a moment.

use nightjar_core::parting::{Cause, Parting, Step};
use nightjar_core::policy::BlockReason;
use nightjar_core::time::Timestamp;

#[test]
fn causes_are_named_as_on_the_wire() {
    for cause in [
        Cause::OwnerBack,
        Cause::Game,
        Cause::ScheduleClosed,
        Cause::TooHot,
        Cause::OwnerStopped,
        Cause::HostClosing,
        Cause::RenterStopped,
        Cause::BalanceExhausted,
        Cause::VramReserve,
        Cause::DiskLimit,
        Cause::Mining,
        Cause::Trouble,
    ] {
        assert_eq!(serde_json::to_value(cause).unwrap(), cause.as_str());
    }
}

#[test]
fn nothing_of_the_owner_is_told_beyond_the_class() {
    let cause = Cause::of_block(&BlockReason::GameRunning { name: "Factorio".into() });
    let parting = Parting { step: Step::End, cause, at: Timestamp(5), deadline: Timestamp(10_005) };
    let told = serde_json::to_string(&parting).unwrap();
    assert_eq!(told, r#"{"step":"end","cause":"game","at":5,"deadline":10005}"#);
}
