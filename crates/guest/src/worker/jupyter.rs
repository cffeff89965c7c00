//! JupyterLab. Its token is in a file and not among its arguments, which everybody may read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use nightjar_protocol::guest::{JUPYTER_PORT, Service, WorkerBoot};
use serde_json::{Value, json};

use super::{WORKSPACE, environment, private_file, private_folder};
use crate::services::Recipe;

const FOLDER: &str = "/run/nightjar/jupyter";
const CONFIGURATION: &str = "/run/nightjar/jupyter/config.json";

pub fn prepare(boot: &WorkerBoot) -> std::io::Result<()> {
    private_folder(Path::new(FOLDER))?;
    private_file(
        Path::new(CONFIGURATION),
        configuration(&boot.jupyter_token, boot.root_inside).to_string().as_bytes(),
    )
}

pub fn recipe(env: &BTreeMap<String, String>) -> Recipe {
    let mut env = environment::with_login(env);
    // What it leaves of a running server would outlast it in the volume.
    env.insert("JUPYTER_RUNTIME_DIR".to_owned(), format!("{FOLDER}/runtime"));
    Recipe {
        service: Service::Jupyter,
        program: "/opt/nightjar/bin/jupyter-lab",
        arguments: vec![format!("--config={CONFIGURATION}")],
        env,
        folder: PathBuf::from(WORKSPACE),
    }
}

fn configuration(token: &str, root_inside: bool) -> Value {
    json!({
        "IdentityProvider": { "token": token },
        "ServerApp": {
            "ip": "0.0.0.0",
            "port": JUPYTER_PORT,
            // Another port than the one that the tunnel leads to is of no use.
            "port_retries": 0,
            "root_dir": WORKSPACE,
            "open_browser": false,
            "allow_root": root_inside,
            "allow_remote_access": true,
            "quit_button": false,
            "terminado_settings": { "shell_command": ["/bin/bash", "-l"] },
        },
        "LabApp": {
            // Both would ask the internet at each start.
            "check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
            "news_url": null,
        },
    })
}
