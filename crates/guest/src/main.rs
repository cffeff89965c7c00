//! Process 1 of a lease's two containers, and the self-check of a worker's card.
//!
//! | module | what |
//! | --- | --- |
//! | [`line`] | what the agent says on standard input, and its silence |
//! | [`notice`] | what the tenant is told before its card is taken |
//! | [`report`] | what is said to the agent on standard output |
//! | [`shared_folder`] | files where the tenant can write too |
//! | [`services`] | programs that are kept running, their logs, the dead that are collected |
//! | [`kernel`] | calls to devices and file systems that no library wraps |
//! | [`apart`] | services that do not see process 1, where a sandbox does not shield it |
//! | [`launch`] | the last step before a service's program: no capability, first to go when memory is short |
//! | [`worker`] | the tenant's container: OpenSSH and JupyterLab |
//! | [`gateway`] | its fence: netfilter, shaping, proxy, notice |
//! | [`driver`] | CUDA's driver API |
//! | [`load`] | a steady load, counted, by which power limits are compared |
//! | [`disk`] | a renter's disk: a file of the quota's size as a block device |
//! | [`volume`] | a renter's folder on it, encrypted |
//! | [`self_check`] | does the card compute? By CUDA's driver API, so that it is the same in every image |

#[cfg(target_os = "linux")]
mod apart;
#[cfg(target_os = "linux")]
mod disk;
#[cfg(target_os = "linux")]
mod driver;
#[cfg(target_os = "linux")]
mod gateway;
#[cfg(target_os = "linux")]
mod kernel;
#[cfg(target_os = "linux")]
mod launch;
#[cfg(target_os = "linux")]
mod line;
#[cfg(target_os = "linux")]
mod load;
#[cfg(target_os = "linux")]
mod notice;
#[cfg(target_os = "linux")]
mod report;
#[cfg(target_os = "linux")]
mod self_check;
#[cfg(target_os = "linux")]
mod services;
#[cfg(target_os = "linux")]
mod shared_folder;
#[cfg(target_os = "linux")]
mod volume;
#[cfg(target_os = "linux")]
mod worker;

#[cfg(target_os = "linux")]
const USAGE: &str = "\
Process 1 of Nightjar's containers, and the self-check of a card.

  nightjar-guest worker                     process 1 of a tenant's container
  nightjar-guest gateway                    process 1 of its gateway
  nightjar-guest probe                      what of a gateway's fence this kernel lacks
  nightjar-guest self-check [--json] [--min-driver 525] [--devices 1] [--uuid GPU-...] [--nonce HEX]
                                            does the card compute? Exit code 0: yes, 1: no; with the market's
                                            question it is measured too
  nightjar-guest load                       a steady load on the card; says how much it has done
  nightjar-guest disk                       a renter's disk as a block device, while it runs
  nightjar-guest volume                     a renter's folder on its disk
  nightjar-guest launch [--keep-capabilities|--apart] -- PROGRAM [ARG...]
                                            start a program that gains no privilege, and without capabilities
  nightjar-guest first PROGRAM [ARG...]     what `launch --apart` starts it with

All but self-check, launch and first read their configuration, a line of JSON, from standard input, and end when standard input
stays silent for five seconds. Exit codes: 0 ended as asked, 1 failed, 2 usage, 4 the line was cut.";

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let rest = arguments.get(1..).unwrap_or_default();
    match arguments.first().map(String::as_str) {
        Some("worker") => line::exit_code(worker::run()),
        Some("gateway") => line::exit_code(gateway::run()),
        Some("probe") => line::exit_code(gateway::probe::run()),
        Some("disk") => line::exit_code(disk::run()),
        Some("volume") => line::exit_code(volume::run()),
        Some("load") => line::exit_code(load::run()),
        Some("self-check") => self_check::run(rest),
        Some(launch::LAUNCH) => launch::run(rest),
        Some(apart::FIRST) => apart::first(rest),
        Some("--help" | "help") => {
            println!("{USAGE}");
            std::process::ExitCode::SUCCESS
        }
        _ => {
            eprintln!("{USAGE}");
            std::process::ExitCode::from(2)
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn main() -> std::process::ExitCode {
    eprintln!("nightjar-guest runs in Linux containers only: on this system it has nothing to do");
    std::process::ExitCode::from(2)
}
