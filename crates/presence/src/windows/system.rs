//! Questions that Windows answers at once. Everything unsafe that signs need is here and in `suspend`.
#![expect(unsafe_code, reason = "calls into the system's own libraries")]

use std::io::Error;
use std::ptr;

use windows_sys::Win32::Foundation::{
    ERROR_DEVICE_NOT_CONNECTED, ERROR_INSUFFICIENT_BUFFER, ERROR_SUCCESS, FILETIME,
};
use windows_sys::Win32::NetworkManagement::IpHelper::{
    GetTcpTable2, GetUdpTable, MIB_TCP_STATE_ESTAB, MIB_TCPROW2, MIB_TCPTABLE2, MIB_UDPROW, MIB_UDPTABLE,
};
use windows_sys::Win32::System::Power::{GetSystemPowerStatus, SYSTEM_POWER_STATUS};
use windows_sys::Win32::System::RemoteDesktop::{
    ProcessIdToSessionId, WTS_CURRENT_SERVER_HANDLE, WTS_CURRENT_SESSION, WTS_INFO_CLASS, WTS_SESSION_INFOW,
    WTS_SESSIONSTATE_LOCK, WTSActive, WTSEnumerateSessionsW, WTSFreeMemory, WTSINFOEXW,
    WTSQuerySessionInformationW, WTSSessionInfoEx, WTSUserName,
};
use windows_sys::Win32::System::Threading::GetSystemTimes;
use windows_sys::Win32::UI::Input::XboxController::{XINPUT_GAMEPAD, XINPUT_STATE, XInputGetState};
use windows_sys::Win32::UI::Shell::{
    QUNS_APP, QUNS_BUSY, QUNS_PRESENTATION_MODE, QUNS_RUNNING_D3D_FULL_SCREEN, SHQueryUserNotificationState,
};
use windows_sys::Win32::UI::WindowsAndMessaging::{
    GetForegroundWindow, GetSystemMetrics, GetWindowThreadProcessId, SM_REMOTESESSION,
};

use crate::remote::Sockets;

/// Whether something fills the screen: a game, a film, a presentation.
pub(super) fn full_screen() -> Result<bool, Error> {
    let mut state = 0;
    // SAFETY: writes one number to where the pointer shows, which lives through the call.
    let result = unsafe { SHQueryUserNotificationState(&raw mut state) };
    if result < 0 {
        return Err(Error::from_raw_os_error(result));
    }
    Ok([QUNS_RUNNING_D3D_FULL_SCREEN, QUNS_BUSY, QUNS_PRESENTATION_MODE, QUNS_APP].contains(&state))
}

/// The program whose window is in front.
pub(super) fn foreground() -> Option<u32> {
    let mut pid = 0;
    // SAFETY: takes nothing; a window that is gone meanwhile only makes the next call answer 0.
    let window = unsafe { GetForegroundWindow() };
    // SAFETY: writes one number to where the pointer shows, which lives through the call.
    let thread = unsafe { GetWindowThreadProcessId(window, &raw mut pid) };
    (thread != 0 && pid != 0).then_some(pid)
}

/// Whether this session is shown on another computer.
pub(super) fn shown_elsewhere() -> bool {
    // SAFETY: takes and changes nothing.
    unsafe { GetSystemMetrics(SM_REMOTESESSION) != 0 }
}

/// Whether this PC runs from its battery.
pub(super) fn on_battery() -> Result<bool, Error> {
    const OFFLINE: u8 = 0;
    let mut status = SYSTEM_POWER_STATUS::default();
    // SAFETY: writes to the structure alone, which lives through the call.
    if unsafe { GetSystemPowerStatus(&raw mut status) } == 0 {
        return Err(Error::last_os_error());
    }
    Ok(status.ACLineStatus == OFFLINE)
}

/// The time of all cores together since the start, idle or not, in tenths of a microsecond.
pub(super) fn processor_time() -> Result<u64, Error> {
    let (mut idle, mut kernel, mut user) = (FILETIME::default(), FILETIME::default(), FILETIME::default());
    // SAFETY: writes to the three structures alone, which live through the call.
    if unsafe { GetSystemTimes(&raw mut idle, &raw mut kernel, &raw mut user) } == 0 {
        return Err(Error::last_os_error());
    }
    let whole = |time: FILETIME| (u64::from(time.dwHighDateTime) << 32) | u64::from(time.dwLowDateTime);
    // The kernel's time holds the idle time.
    Ok(whole(kernel).saturating_add(whole(user)))
}

/// Whether the screen is locked.
pub(super) fn locked() -> Result<bool, Error> {
    let flags = of_session(WTS_CURRENT_SESSION, WTSSessionInfoEx, |answer| {
        if answer.len() < size_of::<WTSINFOEXW>() {
            return None;
        }
        // SAFETY: the system has written a structure of this kind there, and at least its length was checked; it is
        // copied out, so its alignment does not matter.
        let info = unsafe { ptr::read_unaligned(answer.as_ptr().cast::<WTSINFOEXW>()) };
        // SAFETY: level 1 is the only member of the union, and plain numbers.
        (info.Level == 1).then(|| unsafe { info.Data.WTSInfoExLevel1.SessionFlags })
    })?;
    let flags = flags.ok_or_else(|| Error::other("the session does not say whether it is locked"))?;
    Ok(u32::try_from(flags) == Ok(WTS_SESSIONSTATE_LOCK))
}

/// Who uses another session than this program's, here or from elsewhere, by name. After a switch of users this one lives
/// on, locked and without input. A screen to log in at is a session too, and nobody's, so it is not active.
pub(super) fn session_in_use() -> Result<Option<String>, Error> {
    let mut own = 0;
    // SAFETY: writes one number to where the pointer shows, which lives through the call.
    if unsafe { ProcessIdToSessionId(std::process::id(), &raw mut own) } == 0 {
        return Err(Error::last_os_error());
    }
    let other = active_sessions()?.into_iter().find(|session| *session != own);
    Ok(other.map(|session| user_of(session).unwrap_or_else(|| "Windows".to_owned())))
}

/// The sessions in which somebody is logged in and which are shown on a screen, this PC's or another's.
fn active_sessions() -> Result<Vec<u32>, Error> {
    let mut sessions: *mut WTS_SESSION_INFOW = ptr::null_mut();
    let mut count = 0;
    // SAFETY: both pointers show to values that live through the call.
    let told =
        unsafe { WTSEnumerateSessionsW(WTS_CURRENT_SERVER_HANDLE, 0, 1, &raw mut sessions, &raw mut count) };
    if told == 0 {
        return Err(Error::last_os_error());
    }
    let mut active = Vec::new();
    for at in 0..usize::try_from(count).unwrap_or(0) {
        if sessions.is_null() {
            break;
        }
        // SAFETY: the system has written so many structures there; each is copied out.
        let session = unsafe { ptr::read_unaligned(sessions.add(at)) };
        if session.State == WTSActive {
            active.push(session.SessionId);
        }
    }
    // SAFETY: what the call above gave is freed once, and not used after.
    unsafe { WTSFreeMemory(sessions.cast()) };
    Ok(active)
}

/// `None` where the session does not say, or nobody is logged in there.
fn user_of(session: u32) -> Option<String> {
    let told = of_session(session, WTSUserName, |answer| {
        let letters = answer.chunks_exact(2).map(|two| u16::from_ne_bytes([two[0], two[1]]));
        let letters: Vec<u16> = letters.take_while(|letter| *letter != 0).collect();
        String::from_utf16_lossy(&letters)
    });
    told.ok().filter(|name| !name.is_empty())
}

/// What a session says of one thing, as bytes.
fn of_session<T>(session: u32, what: WTS_INFO_CLASS, read: impl FnOnce(&[u8]) -> T) -> Result<T, Error> {
    let mut answer = ptr::null_mut();
    let mut length = 0;
    // SAFETY: both pointers show to values that live through the call.
    let told = unsafe {
        WTSQuerySessionInformationW(
            WTS_CURRENT_SERVER_HANDLE,
            session,
            what,
            &raw mut answer,
            &raw mut length,
        )
    };
    if told == 0 {
        return Err(Error::last_os_error());
    }
    let bytes = if answer.is_null() {
        &[]
    } else {
        // SAFETY: the system has written so many bytes there, which stay until they are freed below.
        unsafe { std::slice::from_raw_parts(answer.cast::<u8>(), usize::try_from(length).unwrap_or(0)) }
    };
    let read = read(bytes);
    // SAFETY: what the call above gave is freed once, and not used after.
    unsafe { WTSFreeMemory(answer.cast()) };
    Ok(read)
}

/// What a controller shows; nothing where none is in this place. `packet` is another number with each change.
pub(super) fn controller(place: u32) -> Result<Option<(u32, XINPUT_GAMEPAD)>, Error> {
    let mut state = XINPUT_STATE::default();
    // SAFETY: writes to the structure alone, which lives through the call.
    match unsafe { XInputGetState(place, &raw mut state) } {
        ERROR_SUCCESS => Ok(Some((state.dwPacketNumber, state.Gamepad))),
        ERROR_DEVICE_NOT_CONNECTED => Ok(None),
        code => Err(Error::from_raw_os_error(i32::try_from(code).unwrap_or(-1))),
    }
}

/// Sockets of version 4 of the protocol, by their ports here.
pub(super) fn sockets() -> Sockets {
    // SAFETY: `table` gives the call a buffer of the length that it states, or none with a length of 0.
    let tcp = table(|buffer, length| unsafe { GetTcpTable2(buffer.cast::<MIB_TCPTABLE2>(), length, 0) });
    // SAFETY: as above.
    let udp = table(|buffer, length| unsafe { GetUdpTable(buffer.cast::<MIB_UDPTABLE>(), length, 0) });
    let connected =
        rows::<MIB_TCPROW2>(&tcp).filter(|row| i32::try_from(row.dwState) == Ok(MIB_TCP_STATE_ESTAB));
    Sockets {
        connected_tcp: connected.map(|row| port(row.dwLocalPort)).collect(),
        udp: rows::<MIB_UDPROW>(&udp).map(|row| port(row.dwLocalPort)).collect(),
    }
}

/// In the network's order of bytes, in the lower half.
fn port(number: u32) -> u16 {
    u16::from_be(u16::try_from(number & 0xFFFF).unwrap_or(0))
}

/// Asks for the length first; the table may have grown when it is asked for itself.
fn table(ask: impl Fn(*mut u8, *mut u32) -> u32) -> Vec<u8> {
    let mut buffer = Vec::new();
    for _ in 0..4 {
        let mut length = u32::try_from(buffer.len()).unwrap_or(0);
        match ask(buffer.as_mut_ptr(), &raw mut length) {
            ERROR_SUCCESS => return buffer,
            ERROR_INSUFFICIENT_BUFFER => buffer = vec![0; usize::try_from(length).unwrap_or(0)],
            _ => break,
        }
    }
    Vec::new()
}

/// The rows after the table's count, as far as the buffer really holds them. `Row` must be plain numbers.
fn rows<Row: Copy>(table: &[u8]) -> impl Iterator<Item = Row> {
    let (count, rows) = table.split_at_checked(size_of::<u32>()).unwrap_or_default();
    let count = count.try_into().map_or(0, u32::from_ne_bytes);
    let rows = rows.chunks_exact(size_of::<Row>()).take(usize::try_from(count).unwrap_or(0));
    // SAFETY: each chunk is as long as a row, any bytes are a row of numbers, and it is copied out without regard to
    // alignment.
    rows.map(|row| unsafe { ptr::read_unaligned(row.as_ptr().cast::<Row>()) })
}
