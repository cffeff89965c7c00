//! The check of a card, in a container that runs: the same for a lease and without one.

use nightjar_core::gpu::GpuUuid;
use nightjar_core::proof::{Nonce, Proof};
use nightjar_protocol::guest::SelfCheck;

use crate::catalogue::Image;
use crate::engine::Output;

/// Longest cause that is told; it is shown in a notification.
pub(crate) const LONGEST_CAUSE: usize = 400;

/// What is run in the container. Cards can be counted in another order by the driver's tools than by the container's
/// hook, hence the UUID.
pub(crate) fn command<'a>(image: &'a Image, gpu: &'a GpuUuid, nonce: &'a Nonce) -> Vec<&'a str> {
    let mut command: Vec<&str> = image.self_check.iter().map(String::as_str).collect();
    command.extend(["--min-driver", &image.min_driver, "--uuid", &gpu.0, "--nonce", &nonce.0]);
    command
}

/// The name of the first card and what it was seen to do, or which step failed and why.
pub(crate) fn judge(output: &Output, which: &str) -> Result<(String, Option<Proof>), String> {
    let Ok(check) = serde_json::from_str::<SelfCheck>(output.stdout.trim()) else {
        let said = output.stderr.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("nothing");
        return Err(format!("{which} gave no result (code {}); it said: {}", output.code, said.trim()));
    };
    if let Some(step) = check.failure() {
        let error = step.error.as_deref().map(|name| format!(" ({name})")).unwrap_or_default();
        return Err(format!("{which} failed at {}: {}{error}", step.step, step.detail));
    }
    if !check.passed || output.code != 0 {
        return Err(format!("{which} failed without naming a step (code {})", output.code));
    }
    let device = check.devices.first().ok_or_else(|| format!("{which} found no card"))?;
    Ok((device.name.clone(), check.proof.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(code: i64, stdout: &str) -> Output {
        Output { code, stdout: stdout.to_owned(), stderr: "warning\nlast line\n\n".to_owned() }
    }

    const PASSED: &str = r#"{"version":1,"passed":true,"driver_version":"550.1","cuda_version":"12.4",
        "devices":[{"index":0,"name":"Simulated RTX 4090","uuid":"GPU-ab","memory_mib":1,"compute_capability":null}],
        "steps":[{"step":"driver_loaded","passed":true,"detail":"","took_ms":1}]}"#;

    #[test]
    fn a_check_names_the_card_or_the_step_that_failed() {
        assert_eq!(judge(&output(0, PASSED), "the self-check"), Ok(("Simulated RTX 4090".to_owned(), None)));
        let failed = PASSED.replace(
            "\"passed\":true,\"detail\":\"\"",
            "\"passed\":false,\"detail\":\"no card\",\"error\":\"E_X\"",
        );
        let cause = judge(&output(1, &failed), "the self-check").unwrap_err();
        assert_eq!(cause, "the self-check failed at driver_loaded: no card (E_X)");
        let cause = judge(&output(139, ""), "the self-check").unwrap_err();
        assert_eq!(cause, "the self-check gave no result (code 139); it said: last line");
        assert!(judge(&output(1, PASSED), "the self-check").is_err());
    }
}
