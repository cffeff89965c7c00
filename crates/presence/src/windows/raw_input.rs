//! Windows tells a window of every input on the PC, also where another program is in front: a raw-input sink. It is open
//! only while nobody is here. A mouse that moves sends a thousand messages a second, and the first has said it all.
#![expect(unsafe_code, reason = "calls into user32")]

use std::io;
use std::ptr;
use std::time::Duration;

use windows_sys::Win32::Foundation::{HWND, WAIT_FAILED};
use windows_sys::Win32::System::Threading::GetCurrentThreadId;
use windows_sys::Win32::UI::Input::{
    RAWINPUTDEVICE, RAWINPUTDEVICE_FLAGS, RIDEV_INPUTSINK, RIDEV_REMOVE, RegisterRawInputDevices,
};
use windows_sys::Win32::UI::WindowsAndMessaging::{
    CreateWindowExW, DestroyWindow, DispatchMessageW, HWND_MESSAGE, MSG, MWMO_INPUTAVAILABLE,
    MsgWaitForMultipleObjectsEx, PM_REMOVE, PeekMessageW, PostThreadMessageW, QS_ALLINPUT, WM_APP, WM_INPUT,
};
use windows_sys::w;

/// HID usage page "generic desktop".
const GENERIC_DESKTOP: u16 = 1;
/// Mouse and keyboard of that page. Controllers have a sensor with a dead zone of their own.
const USAGES: [u16; 2] = [2, 6];

/// The sink, of the thread that made it.
pub(super) struct RawInput {
    window: HWND,
    open: bool,
}

/// Wakes a thread that waits in [`RawInput::wait`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Waker(u32);

impl Waker {
    pub(super) fn wake(self) {
        // SAFETY: takes numbers alone; a thread that has ended makes it fail, and nobody waits then.
        unsafe { PostThreadMessageW(self.0, WM_APP, 0, 0) };
    }
}

impl RawInput {
    /// A window that is never shown, for this thread's messages.
    pub(super) fn new() -> io::Result<Self> {
        let none = ptr::null_mut();
        // SAFETY: the class is the system's own and its name a constant; no other pointer is handed over.
        let window = unsafe {
            CreateWindowExW(
                0,
                w!("STATIC"),
                ptr::null(),
                0,
                0,
                0,
                0,
                0,
                HWND_MESSAGE,
                none,
                none,
                ptr::null(),
            )
        };
        if window.is_null() {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { window, open: false })
    }

    pub(super) fn waker(&self) -> Waker {
        // SAFETY: takes and changes nothing.
        Waker(unsafe { GetCurrentThreadId() })
    }

    /// From now on input is heard.
    pub(super) fn open(&mut self) -> io::Result<()> {
        if !self.open {
            register(RIDEV_INPUTSINK, self.window)?;
            self.open = true;
        }
        Ok(())
    }

    pub(super) fn close(&mut self) {
        if std::mem::take(&mut self.open)
            && let Err(error) = register(RIDEV_REMOVE, ptr::null_mut())
        {
            tracing::warn!("the raw-input sink stays open: {error}");
        }
    }

    /// Waits for input, for [`Waker::wake`] or for the time to pass. Whether it was input.
    pub(super) fn wait(&self, longest: Duration) -> io::Result<bool> {
        let longest = u32::try_from(longest.as_millis()).unwrap_or(u32::MAX - 1);
        // SAFETY: no handle is handed over, so none is read.
        let woken =
            unsafe { MsgWaitForMultipleObjectsEx(0, ptr::null(), longest, QS_ALLINPUT, MWMO_INPUTAVAILABLE) };
        if woken == WAIT_FAILED {
            return Err(io::Error::last_os_error());
        }
        let (mut message, mut heard) = (MSG::default(), false);
        // SAFETY: `message` lives through the call, which fills it; no window and no bounds are all of this thread's.
        while unsafe { PeekMessageW(&raw mut message, ptr::null_mut(), 0, 0, PM_REMOVE) } != 0 {
            heard |= message.message == WM_INPUT;
            // SAFETY: the message is as it was given; what an input holds is freed by the window's own procedure.
            unsafe { DispatchMessageW(&raw const message) };
        }
        Ok(heard)
    }
}

impl Drop for RawInput {
    fn drop(&mut self) {
        self.close();
        // SAFETY: the window is this value's, of the thread that drops it: the type has a raw pointer and is not sent.
        unsafe { DestroyWindow(self.window) };
    }
}

fn register(flags: RAWINPUTDEVICE_FLAGS, target: HWND) -> io::Result<()> {
    let devices = USAGES.map(|usage| RAWINPUTDEVICE {
        usUsagePage: GENERIC_DESKTOP,
        usUsage: usage,
        dwFlags: flags,
        hwndTarget: target,
    });
    let count = u32::try_from(devices.len()).map_err(io::Error::other)?;
    let size = u32::try_from(size_of::<RAWINPUTDEVICE>()).map_err(io::Error::other)?;
    // SAFETY: the pointer is to so many structures of this size, and is not kept.
    if unsafe { RegisterRawInputDevices(devices.as_ptr(), count, size) } == 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
