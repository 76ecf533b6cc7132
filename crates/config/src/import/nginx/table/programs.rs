//! Directives about programs that speak uWSGI's protocol or SCGI.

use super::super::super::directives::{MANY, Row, refused_on, to, without};
use super::{BUFFERS, HSL, IF, LOCATION};

const CACHE: &str = "answers are not cached";

/// Those that both have.
macro_rules! rows {
    ($of:literal) => {
        &[
            to(
                concat!($of, "_pass"),
                LOCATION | IF,
                (1, 1),
                concat!("`to` a backend with `", $of, "`"),
            ),
            to(
                concat!($of, "_param"),
                HSL,
                (2, 3),
                concat!(
                    "`params` of `",
                    $of,
                    "`, for what is fixed; nothing, for what programs get anyway"
                ),
            ),
            to(
                concat!($of, "_hide_header"),
                HSL,
                (1, 1),
                "`headers.response.remove` of the route",
            ),
            to(
                concat!($of, "_intercept_errors"),
                HSL,
                (1, 1),
                "`upstream = true` of the pages in `errors` of a route",
            ),
            to(
                concat!($of, "_connect_timeout"),
                HSL,
                (1, 1),
                "`timeouts.connect` of the backend",
            ),
            to(
                concat!($of, "_read_timeout"),
                HSL,
                (1, 1),
                "`timeouts.first-byte` and `body` of the backend",
            ),
            to(
                concat!($of, "_next_upstream"),
                HSL,
                (1, MANY),
                "`retry.on` of the backend, and `retry = 0` when it is off",
            ),
            to(
                concat!($of, "_next_upstream_tries"),
                HSL,
                (1, 1),
                "`retry` of the backend",
            ),
            without(concat!($of, "_cache"), HSL, (1, 1), CACHE),
            refused_on(
                concat!($of, "_store"),
                HSL,
                (1, 1),
                "answers are not stored",
            ),
            refused_on(
                concat!($of, "_bind"),
                HSL,
                (1, 2),
                "servers see an address of this machine that the system chooses",
            ),
            refused_on(
                concat!($of, "_limit_rate"),
                HSL,
                (1, 1),
                "answers are sent as fast as clients take them",
            ),
            refused_on(
                concat!($of, "_force_ranges"),
                HSL,
                (1, 1),
                "ranges of what programs answer are theirs",
            ),
            to(
                concat!($of, "_pass_request_headers"),
                HSL,
                (1, 1),
                "fields pass; `off` is refused",
            ),
            to(
                concat!($of, "_pass_request_body"),
                HSL,
                (1, 1),
                "bodies pass; `off` is refused",
            ),
            without(
                concat!($of, "_pass_header"),
                HSL,
                (1, 1),
                "what programs answer passes, unless a field is hidden",
            ),
            to(
                concat!($of, "_ignore_headers"),
                HSL,
                (1, MANY),
                "nothing, as answers are not cached; of `X-Accel-Redirect` it is refused beside a location that is `internal`",
            ),
            without(
                concat!($of, "_send_timeout"),
                HSL,
                (1, 1),
                "`timeouts.body` holds both ways",
            ),
            without(
                concat!($of, "_ignore_client_abort"),
                HSL,
                (1, 1),
                "a client that leaves ends its request",
            ),
            without(
                concat!($of, "_next_upstream_timeout"),
                HSL,
                (1, 1),
                "each try has its own time limit",
            ),
            without(
                concat!($of, "_request_buffering"),
                HSL,
                (1, 1),
                "a program gets a body when it is whole, as with `on`",
            ),
            without(concat!($of, "_cache_*"), HSL, (0, MANY), CACHE),
            without(concat!($of, "_*"), HSL, (0, MANY), BUFFERS),
        ]
    };
}

pub(super) const UWSGI: &[Row] = rows!("uwsgi");
pub(super) const SCGI: &[Row] = rows!("scgi");

/// What uWSGI's protocol has of its own.
pub(super) const MODIFIERS: &[Row] = &[
    to("uwsgi_modifier1", HSL, (1, 1), "`modifier` of `uwsgi`"),
    refused_on(
        "uwsgi_modifier2",
        HSL,
        (1, 1),
        "programs are told one number, `uwsgi_modifier1`",
    ),
];
