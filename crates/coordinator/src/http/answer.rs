//! Bodies in, bodies out: whatever goes wrong is an [`ErrorBody`].

use axum::Json;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use nightjar_protocol::error::{ErrorBody, ErrorCode};
use nightjar_protocol::market_api::MAX_BODY_BYTES;
use serde::de::DeserializeOwned;

use crate::market::Failure;

pub(super) type Answer<T> = Result<Json<T>, Failure>;

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let body = match self {
            Self::Refused(body) => body,
            Self::Store(error) => {
                tracing::error!("a request failed: {error}");
                ErrorBody {
                    code: ErrorCode::Internal,
                    detail: "the market could not carry this out; its log knows more; try again".to_owned(),
                }
            }
        };
        (status(body.code), Json(body)).into_response()
    }
}

fn status(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::BadRequest => StatusCode::BAD_REQUEST,
        ErrorCode::Unauthorized => StatusCode::UNAUTHORIZED,
        ErrorCode::Balance => StatusCode::PAYMENT_REQUIRED,
        ErrorCode::Forbidden | ErrorCode::PairingCode | ErrorCode::Signature => StatusCode::FORBIDDEN,
        ErrorCode::NotFound => StatusCode::NOT_FOUND,
        ErrorCode::NoMatch | ErrorCode::Conflict | ErrorCode::StaleEpoch | ErrorCode::Version => {
            StatusCode::CONFLICT
        }
        ErrorCode::TooMany => StatusCode::TOO_MANY_REQUESTS,
        ErrorCode::Unreachable => StatusCode::SERVICE_UNAVAILABLE,
        ErrorCode::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// A JSON body within the bound.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let bytes = axum::body::Bytes::from_request(request, state).await.map_err(unread)?;
        let value = serde_json::from_slice(&bytes).map_err(|error| {
            Failure::refused(ErrorCode::BadRequest, format!("the body is not what is wanted here: {error}"))
        })?;
        Ok(Self(value))
    }
}

fn unread(rejection: BytesRejection) -> Failure {
    let detail = if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
        format!("the body is longer than {MAX_BODY_BYTES} bytes")
    } else {
        "the body could not be read".to_owned()
    };
    Failure::refused(ErrorCode::BadRequest, detail)
}

/// The query's fields.
pub(super) struct Fields<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Fields<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Failure> {
        let query = Query::<T>::try_from_uri(&parts.uri).map_err(|rejection| {
            let detail = format!("the query is not what is wanted here: {}", rejection.body_text());
            Failure::refused(ErrorCode::BadRequest, detail)
        })?;
        Ok(Self(query.0))
    }
}
