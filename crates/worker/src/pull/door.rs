//! The way to one image of a registry, as anybody has it who has no account there. What is answered has bounds: who answers
//! for a registry could fill this PC's memory with a token or an error of any length otherwise.

use std::sync::{Mutex, PoisonError};

use oci_client::Reference;
use reqwest::header::{ACCEPT, HeaderMap, RANGE, WWW_AUTHENTICATE};
use reqwest::{Response, StatusCode, Url};
use serde::Deserialize;

use super::registry::{CONNECT_WITHIN, STALLED_AFTER, Trouble, USER_AGENT, innermost};

/// Tokens have some thousand characters.
const LARGEST_TOKEN_BYTES: usize = 64 * 1024;

pub(super) struct Door {
    client: reqwest::Client,
    scheme: &'static str,
    image: Reference,
    /// The last that the registry's office gave out; it runs out after some minutes.
    token: Mutex<Option<String>>,
}

impl Door {
    /// Without TLS where it `is_plain`.
    ///
    /// # Errors
    /// When no client can be made on this PC.
    pub fn new(image: Reference, is_plain: bool) -> Result<Self, Trouble> {
        let client = reqwest::Client::builder()
            .connect_timeout(CONNECT_WITHIN)
            .read_timeout(STALLED_AFTER)
            .user_agent(USER_AGENT)
            .build()
            .map_err(|error| Trouble::Refused(format!("no client can be made: {}", innermost(&error))))?;
        let scheme = if is_plain { "http" } else { "https" };
        Ok(Self { client, scheme, image, token: Mutex::default() })
    }

    pub fn registry(&self) -> &str {
        self.image.resolve_registry()
    }

    /// `what` of the image, e.g. `blobs/sha256:…`, from that byte on. Its status says that it is there.
    pub async fn get(&self, what: &str, accept: &str, from_byte: u64) -> Result<Response, Trouble> {
        let answer = self.send(what, accept, from_byte).await?;
        let answer = match self.office(&answer) {
            Some(office) => {
                let token = self.fetch_token(office?).await?;
                *self.token.lock().unwrap_or_else(PoisonError::into_inner) = Some(token);
                self.send(what, accept, from_byte).await?
            }
            None => answer,
        };
        accepted(answer.status(), self.registry())?;
        Ok(answer)
    }

    async fn send(&self, what: &str, accept: &str, from_byte: u64) -> Result<Response, Trouble> {
        let (registry, repository) = (self.registry(), self.image.repository());
        let url = format!("{}://{registry}/v2/{repository}/{what}", self.scheme);
        let mut request = self.client.get(url).header(ACCEPT, accept);
        if from_byte > 0 {
            request = request.header(RANGE, format!("bytes={from_byte}-"));
        }
        let token = self.token.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        request.send().await.map_err(|error| Trouble::Cut(innermost(&error)))
    }

    /// Where a token is to be had, if that is what is missing.
    fn office(&self, answer: &Response) -> Option<Result<Url, Trouble>> {
        if answer.status() != StatusCode::UNAUTHORIZED {
            return None;
        }
        let challenge = challenge(answer.headers())?;
        let scope = format!("repository:{}:pull", self.image.repository());
        let mut asked = vec![("scope", scope)];
        asked.extend(challenge.service.map(|service| ("service", service)));
        let unusable = || {
            let registry = self.registry();
            Trouble::Refused(format!("{registry} gives out its tokens at no address that can be asked"))
        };
        let url = Url::parse_with_params(&challenge.realm, &asked).ok();
        // Over a line that anybody reads a token goes to nobody but this PC itself.
        let url = url.filter(|url| url.scheme() == "https" || url.scheme() == self.scheme);
        Some(url.ok_or_else(unusable))
    }

    async fn fetch_token(&self, office: Url) -> Result<String, Trouble> {
        let cut = |error: reqwest::Error| Trouble::Cut(innermost(&error));
        let mut answer = self.client.get(office).send().await.map_err(cut)?;
        accepted(answer.status(), self.registry())?;
        let unusable = || Trouble::Refused(format!("{} answers with no token", self.registry()));
        let bytes = read(&mut answer, LARGEST_TOKEN_BYTES).await?.ok_or_else(unusable)?;
        let given: Given = serde_json::from_slice(&bytes).map_err(|_| unusable())?;
        given.token.or(given.access_token).ok_or_else(unusable)
    }
}

/// The body; `None` where it is longer than that.
pub(super) async fn read(answer: &mut Response, most_bytes: usize) -> Result<Option<Vec<u8>>, Trouble> {
    let mut bytes = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(|error| Trouble::Cut(innermost(&error)))? {
        if bytes.len() + piece.len() > most_bytes {
            return Ok(None);
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(Some(bytes))
}

#[derive(Deserialize)]
struct Given {
    token: Option<String>,
    access_token: Option<String>,
}

struct Challenge {
    realm: String,
    service: Option<String>,
}

/// `Bearer realm="https://…",service="…",scope="…"`; of nothing else is a token to be had.
fn challenge(headers: &HeaderMap) -> Option<Challenge> {
    let text = headers.get(WWW_AUTHENTICATE)?.to_str().ok()?;
    let (kind, mut rest) = text.split_once(' ')?;
    if !kind.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let (mut realm, mut service) = (None, None);
    while let Some((name, after)) = rest.split_once("=\"") {
        let (value, after) = after.split_once('"')?;
        match name.trim_matches([',', ' ']).to_ascii_lowercase().as_str() {
            "realm" => realm = Some(value.to_owned()),
            "service" => service = Some(value.to_owned()),
            _ => {}
        }
        rest = after;
    }
    Some(Challenge { realm: realm?, service })
}

/// What the registry says with it may be of any length, and is not read.
fn accepted(status: StatusCode, registry: &str) -> Result<(), Trouble> {
    match status {
        status if status.is_success() => Ok(()),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            Err(Trouble::Refused(format!("{registry} lets nobody have it without an account")))
        }
        StatusCode::NOT_FOUND => Err(Trouble::Refused(format!("{registry} does not have it"))),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => {
            Err(Trouble::Cut(format!("the registry answers {status}")))
        }
        status if status.is_client_error() => {
            Err(Trouble::Refused(format!("the registry refuses it: {status}")))
        }
        status => Err(Trouble::Cut(format!("the registry answers {status}"))),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::task::JoinHandle;

    /// What a registry answers, but for the ends of its lines: the head with its status, and a body; one without a length
    /// goes on without end.
    pub(crate) struct Answer {
        pub head: String,
        pub body: Option<Vec<u8>>,
    }

    impl Answer {
        pub fn of(body: Option<Vec<u8>>) -> Self {
            Self { head: "200 OK".to_owned(), body }
        }
    }

    /// One that answers each of these in turn, by one connection each; `PORT` in a head is its own. Gives where it is, and
    /// what it was asked with how much of the last body it got rid of.
    pub(crate) async fn registry(answers: Vec<Answer>) -> (Reference, JoinHandle<(Vec<String>, usize)>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let serving = tokio::spawn(async move {
            let (mut asked, mut sent) = (Vec::new(), 0);
            for Answer { head, body } in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    request.push(stream.read_u8().await.unwrap());
                }
                asked.push(String::from_utf8(request).unwrap());
                let head = head.replace("PORT", &port.to_string());
                let length = body.as_ref().map(|body| format!("content-length: {}\r\n", body.len()));
                let head =
                    format!("HTTP/1.1 {head}\r\n{}connection: close\r\n\r\n", length.unwrap_or_default());
                stream.write_all(head.as_bytes()).await.unwrap();
                sent = 0;
                match body {
                    Some(body) => stream.write_all(&body).await.unwrap(),
                    None => {
                        while stream.write_all(&[b' '; 65_536]).await.is_ok() {
                            sent += 65_536;
                        }
                    }
                }
            }
            (asked, sent)
        });
        (format!("127.0.0.1:{port}/tenant/image:x").parse().unwrap(), serving)
    }

    const WANTS_TOKEN: &str = "401 Unauthorized\r\nwww-authenticate: Bearer realm=\"http://127.0.0.1:PORT/office\",service=\"s 1\",scope=\"x\"";

    async fn ask(answers: Vec<Answer>, from_byte: u64) -> (Result<Vec<u8>, Trouble>, Vec<String>, usize) {
        let (reference, serving) = registry(answers).await;
        let door = Door::new(reference, true).unwrap();
        let found = match door.get("blobs/sha256:1", "*/*", from_byte).await {
            Ok(mut answer) => read(&mut answer, 1_000).await.map(Option::unwrap_or_default),
            Err(trouble) => Err(trouble),
        };
        drop(door);
        let (asked, sent) = serving.await.unwrap();
        (found, asked, sent)
    }

    fn head(head: &str, body: Option<Vec<u8>>) -> Answer {
        Answer { head: head.to_owned(), body }
    }

    #[tokio::test]
    async fn who_has_no_account_gets_a_token_where_one_is_asked_for() {
        for name in ["token", "access_token"] {
            let token = format!("{{\"{name}\":\"abc\"}}").into_bytes();
            let answers = vec![
                head(WANTS_TOKEN, Some(b"anything".to_vec())),
                Answer::of(Some(token)),
                head("206 Partial Content", Some(b"there".to_vec())),
            ];
            let (found, asked, _) = ask(answers, 7).await;
            assert_eq!(found, Ok(b"there".to_vec()));
            assert!(asked[1].starts_with("GET /office?scope=repository%3Atenant%2Fimage%3Apull&service=s+1"));
            assert!(asked[2].starts_with("GET /v2/tenant/image/blobs/sha256:1 "), "{}", asked[2]);
            let said = asked[2].to_ascii_lowercase();
            assert!(said.contains("authorization: bearer abc") && said.contains("range: bytes=7-"), "{said}");
        }
    }

    #[tokio::test]
    async fn what_is_said_with_an_error_or_instead_of_a_token_is_not_read_without_end() {
        for code in ["404 Not Found", "403 Forbidden", "500 Internal Server Error", "401 Unauthorized"] {
            let (found, _, sent) = ask(vec![head(code, None)], 0).await;
            assert!(found.is_err(), "{code}");
            // What lies in the buffers between the two.
            assert!(sent < 16 << 20, "{code}: {sent} bytes were taken");
        }
        for last in [Answer::of(None), head("403 Forbidden", None)] {
            let (found, _, sent) = ask(vec![head(WANTS_TOKEN, Some(Vec::new())), last], 0).await;
            assert!(matches!(found, Err(Trouble::Refused(_))), "{found:?}");
            assert!(sent < 16 << 20, "{sent} bytes were taken");
        }
    }

    #[test]
    fn only_a_challenge_that_names_an_office_is_followed() {
        let of = |text: &str| {
            let headers = HeaderMap::from_iter([(WWW_AUTHENTICATE, text.parse().unwrap())]);
            challenge(&headers).map(|found| (found.realm, found.service))
        };
        let (realm, service) = ("https://a/t".to_owned(), Some("r".to_owned()));
        assert_eq!(of("Bearer realm=\"https://a/t\",service=\"r\""), Some((realm.clone(), service)));
        assert_eq!(of("bearer scope=\"x,y\", realm=\"https://a/t\""), Some((realm, None)));
        for other in ["Basic realm=\"x\"", "Bearer service=\"r\"", "Bearer realm=\"x", "Bearer"] {
            assert_eq!(of(other), None, "{other}");
        }
        let image: Reference = "r.example/a/b:x".parse().unwrap();
        assert!(Door::new(image, false).is_ok());
    }

    #[test]
    fn a_refusal_is_told_from_a_moment_without_an_answer() {
        let said = |code| accepted(StatusCode::from_u16(code).unwrap(), "r");
        assert_eq!(said(200), Ok(()));
        for code in [400, 401, 403, 404] {
            assert!(matches!(said(code), Err(Trouble::Refused(_))), "{code}");
        }
        for code in [408, 429, 500, 503] {
            assert!(matches!(said(code), Err(Trouble::Cut(_))), "{code}");
        }
    }
}
