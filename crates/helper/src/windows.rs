//! Windows: a service of LocalSystem, and the named pipe through which it is asked.
//!
//! Who may open the pipe stands in its access list: programs of people who sit at this PC, administrators, the system;
//! nobody over the network. The client's own token is looked at besides, once it has said something.
#![expect(
    unsafe_code,
    reason = "pipes, tokens and their access lists are C interfaces of Windows; all calls are here"
)]

use std::io::{self, Error, ErrorKind};
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle, RawHandle};
use std::path::Path;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use nightjar_protocol::helper::{
    ContainerId, FrameError, HELPER_SOCKET, HelperAnswer, HelperErrorCode, HelperRefusal, HelperRequest,
    MAX_FRAME_BYTES, encode,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::windows::named_pipe::{NamedPipeServer, ServerOptions};
use tokio::time::timeout;
use windows_sys::Win32::Foundation::{HANDLE, LocalFree};
use windows_sys::Win32::Security::Authorization::{
    ConvertSidToStringSidW, ConvertStringSecurityDescriptorToSecurityDescriptorW, ConvertStringSidToSidW,
    SDDL_REVISION_1,
};
use windows_sys::Win32::Security::{
    CheckTokenMembership, GetTokenInformation, PSECURITY_DESCRIPTOR, PSID, RevertToSelf, SECURITY_ATTRIBUTES,
    TOKEN_QUERY, TOKEN_USER, TokenUser,
};
use windows_sys::Win32::System::Pipes::{GetNamedPipeClientProcessId, ImpersonateNamedPipeClient};
use windows_sys::Win32::System::Threading::{GetCurrentThread, OpenThreadToken};

use crate::conversation::{Containers, Conversation};
use crate::desk::Desk;
use crate::limits::Connection;

/// The service's name.
pub const SERVICE: &str = "NightjarHelper";
/// Nobody over the network; all for the system and administrators; for who sits here reading and writing, and not the
/// right to make a further end of the pipe (`FILE_CREATE_PIPE_INSTANCE`), with which a program could pose as the helper.
const ACCESS: &str = "D:P(D;;GA;;;NU)(A;;GA;;;SY)(A;;GA;;;BA)(A;;0x12019b;;;IU)";
/// The system, administrators, who sits at this PC.
const ADMITTED: [&str; 3] = ["S-1-5-18", "S-1-5-32-544", "S-1-5-4"];
const MOST_CONNECTIONS: usize = 16;
const HELLO_WITHIN: Duration = Duration::from_secs(5);
/// A peer that does not read its answers is cut off.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Where the service remembers what has to be put back: its account's own folder, which nobody else can write.
///
/// # Errors
/// When the account has none.
pub fn state_dir() -> io::Result<std::path::PathBuf> {
    let own = std::env::var_os("LOCALAPPDATA").filter(|path| !path.is_empty());
    let own = own.ok_or_else(|| Error::new(ErrorKind::NotFound, "this account has no LOCALAPPDATA"))?;
    Ok(Path::new(&own).join("Nightjar").join("helper"))
}

/// Docker's containers run in a virtual machine here, which this service does not reach.
#[derive(Clone, Copy)]
struct OutOfReach;

impl Containers for OutOfReach {
    fn handle(&self, _: &HelperRequest, _: Connection) -> Result<HelperAnswer, HelperRefusal> {
        Err(HelperRefusal::new(
            HelperErrorCode::NotSupported,
            "on Windows containers run in Docker's virtual machine, which the helper does not reach; Docker itself freezes them",
        ))
    }

    fn of(&self, _: Connection) -> Vec<ContainerId> {
        Vec::new()
    }
}

/// Takes connections until the pipe fails. Must run inside a Tokio runtime.
///
/// # Errors
/// When another program holds the pipe's name, or it breaks.
pub async fn serve(desk: Arc<Desk>) -> io::Result<()> {
    let (numbers, open) = (AtomicU64::new(0), Arc::new(AtomicUsize::new(0)));
    let mut waiting = instance(true)?;
    loop {
        waiting.connect().await?;
        let pipe = std::mem::replace(&mut waiting, instance(false)?);
        let by = Connection(numbers.fetch_add(1, Ordering::Relaxed));
        let (desk, open) = (desk.clone(), open.clone());
        tokio::spawn(async move {
            let is_too_many = open.fetch_add(1, Ordering::SeqCst) >= MOST_CONNECTIONS;
            let ended = converse(pipe, &desk, by, is_too_many).await;
            tracing::info!(connection = by.0, "gone: {ended}");
            // What the driver is told may block.
            let _ = tokio::task::spawn_blocking(move || desk.lose(by)).await;
            open.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

/// Why it ended.
async fn converse(mut pipe: NamedPipeServer, desk: &Arc<Desk>, by: Connection, is_too_many: bool) -> String {
    let mut conversation: Option<Conversation<OutOfReach>> = None;
    loop {
        let next = read(&mut pipe);
        let read = match &conversation {
            Some(_) => next.await,
            None => match timeout(HELLO_WITHIN, next).await {
                Ok(read) => read,
                Err(_) => return "it did not greet in time".to_owned(),
            },
        };
        let request = match read {
            Ok(Some(request)) => request,
            Ok(None) => return "closed".to_owned(),
            Err(error @ FrameError::Io(_)) => return error.to_string(),
            // Where the next frame begins is not known any more.
            Err(error) => {
                let refusal = HelperRefusal::new(HelperErrorCode::BadRequest, error.to_string());
                let _ = write(&mut pipe, &HelperAnswer::Refused(refusal)).await;
                return error.to_string();
            }
        };
        let mut current = match conversation.take() {
            Some(current) => current,
            // A token can be looked at only after the first bytes.
            None => match admit(&pipe, is_too_many) {
                Ok(who) => Conversation::new(desk.clone(), OutOfReach, by, who),
                Err(refusal) => {
                    tracing::warn!("a connection is refused: {refusal}");
                    let _ = write(&mut pipe, &HelperAnswer::Refused(refusal)).await;
                    return "refused".to_owned();
                }
            },
        };
        // The driver may take its time.
        let taken = tokio::task::spawn_blocking(move || {
            let answer = current.take(&request);
            (current, answer)
        });
        let Ok((current, answer)) = taken.await else { return "the answer broke off".to_owned() };
        if let Err(error) = write(&mut pipe, &answer).await {
            return error.to_string();
        }
        if !current.is_greeted() {
            return "no greeting came first".to_owned();
        }
        conversation = Some(current);
    }
}

/// As `nightjar_protocol::helper::read_frame`, without a thread that waits.
async fn read(pipe: &mut NamedPipeServer) -> Result<Option<HelperRequest>, FrameError> {
    let length = match pipe.read_u32().await {
        Ok(length) => length as usize,
        Err(error) if error.kind() == ErrorKind::UnexpectedEof || error.kind() == ErrorKind::BrokenPipe => {
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    if length > MAX_FRAME_BYTES {
        return Err(FrameError::TooLong(length));
    }
    let mut text = vec![0_u8; length];
    pipe.read_exact(&mut text).await?;
    Ok(Some(serde_json::from_slice(&text)?))
}

async fn write(pipe: &mut NamedPipeServer, answer: &HelperAnswer) -> Result<(), FrameError> {
    let frame = encode(answer)?;
    let slow = || Error::new(ErrorKind::TimedOut, "it does not read its answers");
    timeout(ANSWER_WITHIN, pipe.write_all(&frame)).await.map_err(|_| slow())??;
    Ok(())
}

/// Who asks, if they may.
fn admit(pipe: &NamedPipeServer, is_too_many: bool) -> Result<String, HelperRefusal> {
    let caller = caller(pipe.as_raw_handle()).map_err(|error| {
        let text = format!("the connection cannot be used, its owner is not known: {error}");
        HelperRefusal::new(HelperErrorCode::Kernel, text)
    })?;
    if !caller.is_admitted {
        let text = format!(
            "the account {} may not use Nightjar's helper: it does not sit at this PC; log in at the PC itself",
            caller.sid
        );
        return Err(HelperRefusal::new(HelperErrorCode::NotAllowed, text));
    }
    if is_too_many {
        let text = "too many programs use the helper; close one of them";
        return Err(HelperRefusal::new(HelperErrorCode::Busy, text));
    }
    tracing::info!(sid = caller.sid, pid = caller.pid, "connected");
    Ok(format!("{}, process {}", caller.sid, caller.pid))
}

struct Caller {
    sid: String,
    pid: u32,
    is_admitted: bool,
}

fn caller(pipe: RawHandle) -> io::Result<Caller> {
    let token = client_token(pipe)?;
    let mut pid = 0;
    // SAFETY: the pipe is open for as long as its owner waits here, and `pid` may be written.
    done(unsafe { GetNamedPipeClientProcessId(pipe, &raw mut pid) })?;
    let mut is_admitted = false;
    for sid in ADMITTED {
        is_admitted |= is_member(&token, sid)?;
    }
    Ok(Caller { sid: user_of(&token)?, pid, is_admitted })
}

/// The token of the program at the other end. This thread is itself again when it returns.
fn client_token(pipe: RawHandle) -> io::Result<OwnedHandle> {
    // SAFETY: the pipe is open; the thread is given its own token back below, whatever happens in between.
    done(unsafe { ImpersonateNamedPipeClient(pipe) })?;
    let mut token: HANDLE = ptr::null_mut();
    // SAFETY: the handle of the thread is a constant, `token` may be written. Opened with the service's own rights.
    let opened = done(unsafe { OpenThreadToken(GetCurrentThread(), TOKEN_QUERY, 1, &raw mut token) });
    // SAFETY: it takes nothing.
    if unsafe { RevertToSelf() } == 0 {
        // A service that goes on under somebody else's name is worse than none.
        std::process::abort();
    }
    opened?;
    // SAFETY: Windows has just made it, and nobody else owns it.
    Ok(unsafe { OwnedHandle::from_raw_handle(token) })
}

fn is_member(token: &OwnedHandle, sid: &str) -> io::Result<bool> {
    let text = wide(sid);
    let mut made: PSID = ptr::null_mut();
    // SAFETY: the text has its end, `made` may be written.
    done(unsafe { ConvertStringSidToSidW(text.as_ptr(), &raw mut made) })?;
    let made = Local(made);
    let mut is_member = 0;
    // SAFETY: the token is one of a thread, the SID is whole, the answer may be written.
    done(unsafe { CheckTokenMembership(token.as_raw_handle(), made.0, &raw mut is_member) })?;
    Ok(is_member != 0)
}

fn user_of(token: &OwnedHandle) -> io::Result<String> {
    // A TOKEN_USER and the longest SID have far less; aligned for pointers.
    let mut buffer = [0_usize; 32];
    let mut length = 0;
    let room = u32::try_from(size_of_val(&buffer)).unwrap_or(0);
    // SAFETY: the buffer has so much room and is aligned for what is written.
    done(unsafe {
        GetTokenInformation(
            token.as_raw_handle(),
            TokenUser,
            buffer.as_mut_ptr().cast(),
            room,
            &raw mut length,
        )
    })?;
    // SAFETY: Windows has filled it in; the SID that it points to lies in the buffer too.
    let sid = unsafe { buffer.as_ptr().cast::<TOKEN_USER>().read() }.User.Sid;
    let mut text: *mut u16 = ptr::null_mut();
    // SAFETY: the SID is whole, `text` may be written.
    done(unsafe { ConvertSidToStringSidW(sid, &raw mut text) })?;
    let text = Local(text.cast());
    let start = text.0.cast::<u16>();
    // SAFETY: a text of Windows' with its end.
    let units = unsafe {
        let length = (0..).take_while(|at| *start.add(*at) != 0).count();
        std::slice::from_raw_parts(start, length)
    };
    Ok(String::from_utf16_lossy(units))
}

/// One end of the pipe for the next client.
fn instance(first: bool) -> io::Result<NamedPipeServer> {
    let text = wide(ACCESS);
    let mut list: PSECURITY_DESCRIPTOR = ptr::null_mut();
    // SAFETY: the text has its end, `list` may be written, the length is not asked for.
    done(unsafe {
        ConvertStringSecurityDescriptorToSecurityDescriptorW(
            text.as_ptr(),
            SDDL_REVISION_1,
            &raw mut list,
            ptr::null_mut(),
        )
    })?;
    let list = Local(list);
    let mut attributes = SECURITY_ATTRIBUTES {
        nLength: u32::try_from(size_of::<SECURITY_ATTRIBUTES>()).unwrap_or(0),
        lpSecurityDescriptor: list.0,
        bInheritHandle: 0,
    };
    let mut options = ServerOptions::new();
    options.first_pipe_instance(first).reject_remote_clients(true);
    // SAFETY: the attributes and the list that they point to live until the call returns.
    unsafe { options.create_with_security_attributes_raw(HELPER_SOCKET, (&raw mut attributes).cast()) }
}

/// What Windows hands out from its local heap.
struct Local(*mut core::ffi::c_void);

impl Drop for Local {
    fn drop(&mut self) {
        // SAFETY: made by a call that says so, and freed once.
        unsafe { LocalFree(self.0) };
    }
}

fn done(result: i32) -> io::Result<()> {
    if result == 0 { Err(Error::last_os_error()) } else { Ok(()) }
}

fn wide(text: &str) -> Vec<u16> {
    text.encode_utf16().chain([0]).collect()
}
