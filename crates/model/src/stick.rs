//! Stickiness: what keeps a client with the server that it had.

use std::time::Duration;

/// How the server of a client is known again, and what happens when it is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stick {
    /// How it is known.
    pub by: StickBy,
    /// What happens to a client whose server cannot be used.
    pub gone: Gone,
}

/// How the server of a client is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StickBy {
    /// By a cookie of ours, which the servers do not see.
    Cookie(StickCookie),
    /// By what stands before a `~` in the application's own cookie, which the servers do not see.
    Prefix {
        /// The application's cookie.
        name: String,
    },
    /// By what the application itself writes behind the last dot of its session's id, in its cookie or in a path
    /// parameter: Tomcat's `jvmRoute`.
    JvmRoute {
        /// The application's cookie; the path parameter has the same name in small letters.
        name: String,
    },
    /// By the client's address, for so long after its last request.
    Source {
        /// How long a client without requests is remembered.
        expires: Duration,
    },
}

/// A cookie of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StickCookie {
    /// Its name.
    pub name: String,
    /// Its value proves that it is ours, by the key of the cluster.
    pub signed: bool,
    /// The attribute `Path`.
    pub path: String,
    /// The attribute `Domain`.
    pub domain: Option<String>,
    /// The attribute `Secure`; `None` is: when the client came by TLS.
    pub secure: Option<bool>,
    /// The attribute `HttpOnly`.
    pub http_only: bool,
    /// The attribute `SameSite`.
    pub same_site: Option<SameSite>,
    /// The attribute `Max-Age`; without it the cookie ends with the browser.
    pub max_age: Option<Duration>,
}

impl Default for StickCookie {
    fn default() -> Self {
        Self {
            name: "tandem".into(),
            signed: false,
            path: "/".into(),
            domain: None,
            secure: None,
            http_only: true,
            same_site: Some(SameSite::Lax),
            max_age: None,
        }
    }
}

/// The attribute `SameSite` of a cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SameSite {
    /// `Strict`.
    Strict,
    /// `Lax`.
    Lax,
    /// `None`; browsers then ask for `Secure`.
    None,
}

impl SameSite {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Strict, Self::Lax, Self::None];

    /// As a cookie has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Strict => "Strict",
            Self::Lax => "Lax",
            Self::None => "None",
        }
    }
}

/// What happens to a client whose server cannot be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gone {
    /// It gets another one, and stays with that.
    #[default]
    Rebalance,
    /// It is answered 503.
    Fail,
}
