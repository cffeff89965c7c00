//! What goes over the daemon's socket: one JSON object a line, request and answer in turn.

use std::io::{self, BufRead, Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Sent in the greeting; a daemon refuses libraries that were built for another.
pub const PROTOCOL: u32 = 1;
/// No line is longer, in either direction.
pub const LINE_LIMIT_BYTES: u64 = 256 * 1024;
/// Where the libraries look for the daemon unless [`SOCKET_ENV`] says otherwise; the hook puts it there. Not below `/dev`,
/// `/run` or `/tmp`: gVisor and the Engine put file systems of their own over what the root has there.
pub const SOCKET_DEFAULT: &str = "/usr/lib/nvidia-sim/socket";
/// Environment variable with the path of the daemon's socket, for use outside containers.
pub const SOCKET_ENV: &str = "NVIDIA_SIM_SOCKET";
/// File next to the socket that names the cards a container may see, one UUID a line.
pub const VISIBLE_FILE: &str = "visible";

/// NVML's return codes that the stand-in gives.
pub mod nvml {
    pub const UNINITIALIZED: i32 = 1;
    pub const INVALID_ARGUMENT: i32 = 2;
    pub const NOT_SUPPORTED: i32 = 3;
    pub const NO_PERMISSION: i32 = 4;
    pub const NOT_FOUND: i32 = 6;
    pub const INSUFFICIENT_SIZE: i32 = 7;
    pub const DRIVER_NOT_LOADED: i32 = 9;
    pub const GPU_IS_LOST: i32 = 15;
    pub const ARGUMENT_VERSION_MISMATCH: i32 = 25;
    pub const UNKNOWN: i32 = 999;
}

/// The CUDA driver API's result codes that the stand-in gives.
pub mod cuda {
    pub const INVALID_VALUE: i32 = 1;
    pub const OUT_OF_MEMORY: i32 = 2;
    pub const NOT_INITIALIZED: i32 = 3;
    pub const NO_DEVICE: i32 = 100;
    pub const INVALID_DEVICE: i32 = 101;
    pub const INVALID_IMAGE: i32 = 200;
    pub const INVALID_CONTEXT: i32 = 201;
    pub const INVALID_HANDLE: i32 = 400;
    pub const NOT_FOUND: i32 = 500;
    pub const NOT_SUPPORTED: i32 = 801;
    pub const UNKNOWN: i32 = 999;
}

/// What a library or a person asks of the daemon. `card` is a slot: the number under which the daemon
/// keeps a card, whether or not it is plugged in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Request {
    /// First on every connection. `visible` limits the connection to these UUIDs.
    Hello { protocol: u32, visible: Option<Vec<String>> },
    /// A call that concerns no single card. Answer: [`Reply::Machine`]. `wakes` for calls that, like
    /// `nvmlInit`, touch every card.
    Machine { call: String, wakes: bool },
    /// A call that reads a card. Answer: [`Reply::Card`].
    Card { call: String, card: usize },
    /// `nvmlDeviceSetPowerManagementLimit`.
    SetPowerLimit { card: usize, milliwatts: u32 },
    /// `nvmlDeviceSetPersistenceMode`.
    SetPersistence { card: usize, on: bool },
    /// `nvmlDeviceSetFanSpeed_v2`, or without a percentage back to the automatic curve.
    SetFan { card: usize, percent: Option<u32> },
    /// A CUDA context was made (or taken away).
    Context { card: usize, create: bool },
    /// Device memory was asked for. Answer: [`Reply::Allocated`].
    Allocate { card: usize, bytes: u64 },
    /// Device memory was given back, by the number of [`Reply::Allocated`].
    Free { allocation: u64 },
    /// Work was submitted. Answer: [`Reply::Queued`].
    Launch { card: usize, kernel: String, device_micros: u64, memory_share: f64 },
    /// Something happens to the simulated machine. Only the daemon's own user may ask.
    Control { control: Control },
    /// Answer: [`Reply::Stats`].
    Stats,
    /// Ends the daemon. Only the daemon's own user may ask.
    Shutdown,
}

/// What can happen to the simulated machine from outside, also as an `[[event]]` of a scenario.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum Control {
    SetRoomTemp {
        celsius: f64,
    },
    /// Moves a card's own temperature, for tests that cannot wait for it.
    SetTemp {
        card: usize,
        celsius: f64,
    },
    /// The thermometer says this whatever the temperature is; without a value it is right again.
    StickTemp {
        card: usize,
        celsius: Option<f64>,
    },
    /// Without a percentage the fan is automatic again.
    SetFan {
        card: usize,
        percent: Option<f64>,
    },
    /// A process outside Nightjar (a game, say) uses the card until this is called with nothing used.
    ExternalLoad {
        card: usize,
        pid: u32,
        util_percent: f64,
        vram_mib: u64,
        #[serde(default)]
        graphics: bool,
        /// How much of the work waits for memory; left out, about as much as of a game or of training.
        #[serde(default)]
        memory_percent: Option<f64>,
    },
    /// `call` returns `code` from now on; without a code it works again.
    Fail {
        call: String,
        code: Option<i32>,
        #[serde(default)]
        card: Option<usize>,
        /// After so many calls it works again.
        #[serde(default)]
        times: Option<u32>,
    },
    Unplug {
        card: usize,
    },
    Replug {
        card: usize,
    },
    /// The card is powered down, as an idle laptop card is; NVML calls wake it and are counted.
    Sleep {
        card: usize,
    },
    Wake {
        card: usize,
    },
    Driver {
        version: String,
    },
    /// The power limit as another program would set it, past the permission check.
    SetPowerLimit {
        card: usize,
        watts: f64,
    },
    /// Whether a monitor is connected to the card.
    SetDisplay {
        card: usize,
        connected: bool,
    },
}

/// The daemon's answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Reply {
    Done,
    /// `code` is one of [`nvml`] or [`cuda`], after the kind of call; `why` is for the reader of a log.
    Refused {
        code: i32,
        why: String,
    },
    Machine {
        driver_version: String,
        cuda_version: i32,
        /// Slots of the cards that this connection can see, in the order of their index.
        cards: Vec<CardIdentity>,
    },
    Card {
        reading: Box<CardReading>,
    },
    Allocated {
        allocation: u64,
    },
    /// How long the card is busy with what this connection has submitted.
    Queued {
        micros: u64,
    },
    Stats {
        stats: Stats,
    },
}

/// Which card stands in a slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CardIdentity {
    pub slot: usize,
    pub uuid: String,
    /// Like `00000000:01:00.0`.
    pub bus_id: String,
}

/// Everything that a getter can ask of a card, at one moment. Clocks in MHz.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CardReading {
    pub identity: CardIdentity,
    pub name: String,
    pub compute_capability: (i32, i32),
    pub architecture: u32,
    pub multiprocessors: u32,
    pub cores: u32,
    pub memory_bus_bits: u32,
    pub teraflops: f64,
    pub pci_bus: u32,
    pub pci_device_id: u32,
    pub pci_subsystem_id: u32,
    pub pcie_generation: u32,
    pub pcie_max_generation: u32,
    pub pcie_width: u32,
    pub temperature_celsius: u32,
    pub slowdown_celsius: u32,
    pub shutdown_celsius: u32,
    pub max_operating_celsius: u32,
    pub power_milliwatts: u32,
    pub limit_milliwatts: u32,
    pub default_limit_milliwatts: u32,
    pub min_limit_milliwatts: u32,
    pub max_limit_milliwatts: u32,
    pub energy_millijoules: u64,
    pub persistence: bool,
    pub display_connected: bool,
    pub gpu_percent: u32,
    pub memory_percent: u32,
    pub clock_mhz: u32,
    pub max_clock_mhz: u32,
    pub memory_clock_mhz: u32,
    pub max_memory_clock_mhz: u32,
    pub fans: u32,
    pub fan_percent: u32,
    /// NVML's bit mask.
    pub throttle_reasons: u64,
    /// 0 (fastest) to 15.
    pub performance_state: u32,
    pub vram_bytes: u64,
    pub vram_reserved_bytes: u64,
    pub vram_used_bytes: u64,
    pub processes: Vec<ProcessReading>,
}

impl CardReading {
    /// VRAM that nobody has.
    pub fn vram_free_bytes(&self) -> u64 {
        self.vram_bytes.saturating_sub(self.vram_reserved_bytes + self.vram_used_bytes)
    }
}

/// One process that uses a card; `pid` is the daemon's view of it, so the host's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProcessReading {
    pub pid: u32,
    pub graphics: bool,
    pub vram_bytes: u64,
    pub gpu_percent: u32,
}

/// What tests want to know of the daemon itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stats {
    pub driver_version: String,
    pub room_celsius: f64,
    /// Connections that have said hello.
    pub connections: usize,
    pub cards: Vec<CardStats>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CardStats {
    pub present: bool,
    /// Powered down, or it would be if nobody had woken it.
    pub asleep: bool,
    /// What the kernel would report as the runtime power state.
    pub runtime_status: String,
    pub nvml_calls: u64,
    pub nvml_calls_while_asleep: u64,
    /// Work done, in milliseconds of full load at full clock.
    pub work_millis: u64,
    /// What the silicon has, whatever its thermometer says.
    pub true_celsius: f64,
    pub reading: CardReading,
}

/// Writes one message as one line.
pub fn send<T: Serialize>(out: &mut impl Write, message: &T) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    out.write_all(&line)
}

/// Reads one message; `None` where the other side has closed between two.
pub fn receive<T: DeserializeOwned>(input: &mut impl BufRead) -> io::Result<Option<T>> {
    let mut line = Vec::new();
    input.by_ref().take(LINE_LIMIT_BYTES).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Ok(None);
    }
    if line.last() != Some(&b'\n') {
        let why = format!("a line without an end within {LINE_LIMIT_BYTES} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    Ok(Some(serde_json::from_slice(&line)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_survives_the_wire() {
        let request = Request::Allocate { card: 1, bytes: 1 << 30 };
        let mut wire = Vec::new();
        send(&mut wire, &request).unwrap();
        let mut input = wire.as_slice();
        assert_eq!(receive::<Request>(&mut input).unwrap(), Some(request));
        assert_eq!(receive::<Request>(&mut input).unwrap(), None);
    }

    #[test]
    fn an_endless_line_is_refused() {
        let mut input = io::BufReader::new(io::repeat(b'x'));
        assert_eq!(receive::<Request>(&mut input).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn a_cut_line_is_an_error_and_not_an_end() {
        assert!(receive::<Request>(&mut &b"{\"op\":\"stats\"}"[..]).is_err());
    }
}
