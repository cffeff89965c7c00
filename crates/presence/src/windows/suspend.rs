//! The PC is about to sleep, and has woken.
#![expect(unsafe_code, reason = "the system calls back with a pointer that it was given")]

use std::ffi::c_void;
use std::ptr;

use nightjar_core::signal::{SignalKind, Standing};
use windows_sys::Win32::Foundation::ERROR_SUCCESS;
use windows_sys::Win32::System::Power::{
    DEVICE_NOTIFY_SUBSCRIBE_PARAMETERS, HPOWERNOTIFY, PowerRegisterSuspendResumeNotification,
    PowerUnregisterSuspendResumeNotification,
};
use windows_sys::Win32::UI::WindowsAndMessaging::{
    DEVICE_NOTIFY_CALLBACK, PBT_APMRESUMEAUTOMATIC, PBT_APMRESUMESUSPEND, PBT_APMSUSPEND,
};

use crate::signals::{Guard, SignalOptions, Sink, tell};

const SOURCE: &str = "windows";

/// The registration, and what it is called with. Both stay where they are until it is taken back.
struct Registration {
    handle: HPOWERNOTIFY,
    _called_with: Box<Sink>,
    _parameters: Box<DEVICE_NOTIFY_SUBSCRIBE_PARAMETERS>,
}

// SAFETY: the handle may be taken back from any thread, and the rest is only kept.
unsafe impl Send for Registration {}

impl Drop for Registration {
    fn drop(&mut self) {
        // SAFETY: the handle is from a registration that was not taken back yet. The call returns when no callback
        // runs any more, so what they were called with may go after it.
        let result = unsafe { PowerUnregisterSuspendResumeNotification(self.handle) };
        if result != ERROR_SUCCESS {
            tracing::warn!(result, "the sensor of suspend could not be taken back");
        }
    }
}

pub(super) fn start(_options: &SignalOptions, sink: Sink) -> Option<Guard> {
    let called_with = Box::new(Sink::clone(&sink));
    let mut parameters = Box::new(DEVICE_NOTIFY_SUBSCRIBE_PARAMETERS {
        Callback: Some(called),
        Context: ptr::from_ref::<Sink>(&called_with).cast_mut().cast::<c_void>(),
    });
    let mut handle = ptr::null_mut();
    let recipient = ptr::from_mut::<DEVICE_NOTIFY_SUBSCRIBE_PARAMETERS>(&mut parameters).cast::<c_void>();
    // SAFETY: with this flag the recipient is a structure of this kind; it and what it shows to are kept until the
    // registration is taken back.
    let result =
        unsafe { PowerRegisterSuspendResumeNotification(DEVICE_NOTIFY_CALLBACK, recipient, &raw mut handle) };
    if result != ERROR_SUCCESS {
        let detail = format!("Windows does not tell of suspend (code {result})");
        tell(&sink, SignalKind::Suspending, SOURCE, Standing::Unavailable { detail });
        return None;
    }
    tell(&sink, SignalKind::Suspending, SOURCE, Standing::Quiet);
    let handle = handle as HPOWERNOTIFY;
    Some(Box::new(Registration { handle, _called_with: called_with, _parameters: parameters }))
}

unsafe extern "system" fn called(context: *const c_void, event: u32, _setting: *const c_void) -> u32 {
    // SAFETY: the context is what was registered, which lives until no callback runs any more.
    let Some(sink) = (unsafe { context.cast::<Sink>().as_ref() }) else { return ERROR_SUCCESS };
    match event {
        PBT_APMSUSPEND => {
            let name = "Windows".to_owned();
            tell(sink, SignalKind::Suspending, SOURCE, Standing::Seen { name });
        }
        PBT_APMRESUMEAUTOMATIC | PBT_APMRESUMESUSPEND => {
            tell(sink, SignalKind::Suspending, SOURCE, Standing::Quiet);
        }
        _ => {}
    }
    ERROR_SUCCESS
}
