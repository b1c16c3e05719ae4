//! The kinds of problem, with the status and the stable type of each.

use actix_web::http::StatusCode;

/// What went wrong. The suffixes of the types are part of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProblemKind {
    Malformed,
    Unauthorized,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    RequestTimeout,
    TrackingIdConflict,
    FeedTruncated,
    PayloadTooLarge,
    UnsupportedMediaType,
    Validation,
    TooManyRequests,
    Internal,
    GatewayUnreachable,
    Unavailable,
    GatewayTimeout,
}

impl ProblemKind {
    /// Every one, by its status.
    pub(crate) const ALL: [Self; 16] = [
        Self::Malformed,
        Self::Unauthorized,
        Self::Forbidden,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::RequestTimeout,
        Self::TrackingIdConflict,
        Self::FeedTruncated,
        Self::PayloadTooLarge,
        Self::UnsupportedMediaType,
        Self::Validation,
        Self::TooManyRequests,
        Self::Internal,
        Self::GatewayUnreachable,
        Self::Unavailable,
        Self::GatewayTimeout,
    ];

    /// The status, the suffix of the type, and the title.
    pub(crate) const fn parts(self) -> (StatusCode, &'static str, &'static str) {
        let (suffix, title) = self.words();
        (self.status(), suffix, title)
    }

    const fn status(self) -> StatusCode {
        match self {
            Self::Malformed => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::TrackingIdConflict => StatusCode::CONFLICT,
            Self::FeedTruncated => StatusCode::GONE,
            Self::PayloadTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Validation => StatusCode::UNPROCESSABLE_ENTITY,
            Self::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::GatewayUnreachable => StatusCode::BAD_GATEWAY,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::GatewayTimeout => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    const fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Malformed => ("malformed", "the body is not json"),
            Self::Unauthorized => ("unauthorized", "valid credentials are needed"),
            Self::Forbidden => ("forbidden", "the key does not allow this"),
            Self::NotFound => ("not-found", "there is no such thing"),
            Self::MethodNotAllowed => ("method-not-allowed", "the path does not take this method"),
            Self::RequestTimeout => ("request-timeout", "the body came too slowly"),
            Self::TrackingIdConflict => (
                "tracking-id-conflict",
                "the tracking id stands for another request",
            ),
            Self::FeedTruncated => ("feed-truncated", "the events asked for are no longer kept"),
            Self::PayloadTooLarge => ("payload-too-large", "the body is too large"),
            Self::UnsupportedMediaType => (
                "unsupported-media-type",
                "the body must be application/json",
            ),
            Self::Validation => ("validation", "the request is not valid"),
            Self::TooManyRequests => ("too-many-requests", "there are too many requests"),
            Self::Internal => ("internal", "something went wrong here"),
            Self::GatewayUnreachable => ("gateway-unreachable", "the gateway could not be reached"),
            Self::Unavailable => ("unavailable", "the service cannot do this now"),
            Self::GatewayTimeout => ("gateway-timeout", "the gateway did not answer in time"),
        }
    }

    /// The kind that fits a status that something else has chosen.
    pub(super) fn of(status: StatusCode) -> Self {
        match status.as_u16() {
            401 => Self::Unauthorized,
            403 => Self::Forbidden,
            404 => Self::NotFound,
            405 => Self::MethodNotAllowed,
            408 => Self::RequestTimeout,
            413 => Self::PayloadTooLarge,
            415 => Self::UnsupportedMediaType,
            429 => Self::TooManyRequests,
            503 => Self::Unavailable,
            400..=499 => Self::Malformed,
            _ => Self::Internal,
        }
    }
}
