//! A language model behind OpenAI's API, as the image's own script serves it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use nightjar_protocol::guest::Service;

use super::{WORKSPACE, environment};
use crate::services::Recipe;

/// `key` is what callers name: the port is open to the tunnel, and thus to every program of the PC that lends the card.
pub fn recipe(model: &str, key: &str, env: &BTreeMap<String, String>) -> Recipe {
    let mut env = environment::with_login(env);
    env.insert("NIGHTJAR_SERVE_HOST".to_owned(), "0.0.0.0".to_owned());
    // By vLLM's name for it; arguments may be read by everybody.
    env.insert("VLLM_API_KEY".to_owned(), key.to_owned());
    Recipe {
        service: Service::Api,
        program: "/usr/local/bin/serve-llm",
        arguments: vec![model.to_owned()],
        env,
        folder: PathBuf::from(WORKSPACE),
    }
}
