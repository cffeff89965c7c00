//! A notebook through Jupyter's own interface: REST for files and kernels, WebSocket for what a cell says.

use std::time::Duration;

use anyhow::{Context, bail};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::renter::Jupyter;

const CELL_WITHIN: Duration = Duration::from_secs(60);

/// Saves a notebook with these cells, runs each, saves what they said, and gives it.
///
/// # Errors
/// When Jupyter refuses or a cell fails; the traceback is in the error.
pub fn run(jupyter: &Jupyter, name: &str, cells: &[&str]) -> anyhow::Result<Vec<String>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run_all(jupyter, name, cells))
}

async fn run_all(jupyter: &Jupyter, name: &str, cells: &[&str]) -> anyhow::Result<Vec<String>> {
    let api = Api { base: format!("http://127.0.0.1:{}", jupyter.port), token: &jupyter.token };
    api.put(&format!("/api/contents/{name}"), &notebook(cells, &[])).await?;
    let kernel = api.post("/api/kernels", &json!({"name": "python3"})).await?;
    let id = kernel["id"].as_str().with_context(|| format!("no kernel: {kernel}"))?.to_owned();
    let address =
        format!("ws://127.0.0.1:{}/api/kernels/{id}/channels?token={}", jupyter.port, jupyter.token);
    let (mut channel, _) = tokio_tungstenite::connect_async(address).await?;
    let mut said = Vec::new();
    for (number, cell) in cells.iter().enumerate() {
        channel.send(Message::text(execute_request(number, cell).to_string())).await?;
        let answer = tokio::time::timeout(CELL_WITHIN, hear(&mut channel, number)).await;
        said.push(answer.with_context(|| format!("cell {number} did not end within {CELL_WITHIN:?}"))??);
    }
    api.put(&format!("/api/contents/{name}"), &notebook(cells, &said)).await?;
    api.delete(&format!("/api/kernels/{id}")).await?;
    Ok(said)
}

struct Api<'a> {
    base: String,
    token: &'a str,
}

impl Api<'_> {
    async fn put(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.ask(reqwest::Method::PUT, path, Some(body)).await
    }

    async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.ask(reqwest::Method::POST, path, Some(body)).await
    }

    async fn delete(&self, path: &str) -> anyhow::Result<()> {
        self.ask(reqwest::Method::DELETE, path, None).await.map(drop)
    }

    async fn ask(&self, method: reqwest::Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let client = reqwest::Client::builder().timeout(CELL_WITHIN).build()?;
        let mut request = client
            .request(method, format!("{}{path}", self.base))
            .header("Authorization", format!("token {}", self.token));
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        if !status.is_success() {
            bail!("Jupyter answers {status} to {path}: {text}");
        }
        Ok(serde_json::from_str(&text).unwrap_or(Value::Null))
    }
}

fn execute_request(number: usize, code: &str) -> Value {
    json!({
        "channel": "shell",
        "header": {
            "msg_id": format!("cell-{number}"), "msg_type": "execute_request", "version": "5.3",
            "username": "renter", "session": "nightjar", "date": "",
        },
        "parent_header": {}, "metadata": {}, "buffers": [],
        "content": {"code": code, "silent": false, "store_history": true, "allow_stdin": false, "stop_on_error": true},
    })
}

async fn hear<S>(channel: &mut S, number: usize) -> anyhow::Result<String>
where
    S: StreamExt<Item = Result<Message, tokio_tungstenite::tungstenite::Error>> + Unpin,
{
    let (mut text, mut replied, mut idle) = (String::new(), false, false);
    while !(replied && idle) {
        let Message::Text(frame) = channel.next().await.context("the kernel is gone")?? else { continue };
        let message: Value = serde_json::from_str(&frame)?;
        if message["parent_header"]["msg_id"] != format!("cell-{number}") {
            continue;
        }
        let content = &message["content"];
        match message["msg_type"].as_str().unwrap_or_default() {
            "stream" => text.push_str(content["text"].as_str().unwrap_or_default()),
            "execute_result" => text.push_str(content["data"]["text/plain"].as_str().unwrap_or_default()),
            "error" => bail!("cell {number}: {}: {}", content["ename"], content["evalue"]),
            "execute_reply" => replied = true,
            "status" => idle = content["execution_state"] == "idle",
            _ => {}
        }
    }
    Ok(text)
}

fn notebook(cells: &[&str], said: &[String]) -> Value {
    let cells: Vec<Value> = cells
        .iter()
        .enumerate()
        .map(|(number, source)| {
            let outputs =
                said.get(number).map(|text| json!({"output_type": "stream", "name": "stdout", "text": text}));
            json!({
                "cell_type": "code", "source": source, "metadata": {}, "id": format!("cell{number}"),
                "execution_count": outputs.is_some().then_some(number + 1),
                "outputs": outputs.into_iter().collect::<Vec<_>>(),
            })
        })
        .collect();
    json!({"type": "notebook", "format": "json", "content": {
        "cells": cells, "nbformat": 4, "nbformat_minor": 5,
        "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    }})
}
