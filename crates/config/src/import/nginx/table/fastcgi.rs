//! Directives about programs that speak FastCGI.

use super::super::super::directives::{MANY, Row, refused, refused_on, to, without};
use super::{BUFFERS, HSL, IF, LOCATION};

const CACHE: &str = "answers are not cached";
const KEPT: &str = "programs have one request a connection";

pub(super) const FASTCGI: &[Row] = &[
    to(
        "fastcgi_pass",
        LOCATION | IF,
        (1, 1),
        "`to` a backend with `fastcgi`",
    ),
    to(
        "fastcgi_param",
        HSL,
        (2, 3),
        "`root` of `fastcgi`, for SCRIPT_FILENAME; `params`, for what is fixed; nothing, for what programs get anyway",
    ),
    to("fastcgi_index", HSL, (1, 1), "`index` of `fastcgi`"),
    to(
        "fastcgi_split_path_info",
        HSL,
        (1, 1),
        "`extension` of `fastcgi`",
    ),
    to(
        "fastcgi_hide_header",
        HSL,
        (1, 1),
        "`headers.response.remove` of the route",
    ),
    to(
        "fastcgi_intercept_errors",
        HSL,
        (1, 1),
        "`upstream = true` of the pages in `errors` of a route",
    ),
    to(
        "fastcgi_connect_timeout",
        HSL,
        (1, 1),
        "`timeouts.connect` of the backend",
    ),
    to(
        "fastcgi_read_timeout",
        HSL,
        (1, 1),
        "`timeouts.first-byte` and `body` of the backend",
    ),
    to(
        "fastcgi_next_upstream",
        HSL,
        (1, MANY),
        "`retry.on` of the backend, and `retry = 0` when it is off",
    ),
    to(
        "fastcgi_next_upstream_tries",
        HSL,
        (1, 1),
        "`retry` of the backend",
    ),
    to(
        "fastcgi_pass_request_headers",
        HSL,
        (1, 1),
        "fields pass; `off` is refused",
    ),
    to(
        "fastcgi_pass_request_body",
        HSL,
        (1, 1),
        "bodies pass; `off` is refused",
    ),
    without("fastcgi_cache", HSL, (1, 1), CACHE),
    refused_on("fastcgi_store", HSL, (1, 1), "answers are not stored"),
    refused_on(
        "fastcgi_bind",
        HSL,
        (1, 2),
        "servers see an address of this machine that the system chooses",
    ),
    refused_on(
        "fastcgi_limit_rate",
        HSL,
        (1, 1),
        "answers are sent as fast as clients take them",
    ),
    refused_on(
        "fastcgi_force_ranges",
        HSL,
        (1, 1),
        "ranges of what programs answer are theirs",
    ),
    refused(
        "fastcgi_catch_stderr",
        HSL,
        (1, 1),
        "what a program complains about is in the log, and does not make its answer another",
    ),
    without(
        "fastcgi_pass_header",
        HSL,
        (1, 1),
        "what programs answer passes, unless a field is hidden",
    ),
    to(
        "fastcgi_ignore_headers",
        HSL,
        (1, MANY),
        "nothing, as answers are not cached; of `X-Accel-Redirect` it is refused beside a location that is `internal`",
    ),
    without("fastcgi_keep_conn", HSL, (1, 1), KEPT),
    without("fastcgi_socket_keepalive", HSL, (1, 1), KEPT),
    without(
        "fastcgi_send_timeout",
        HSL,
        (1, 1),
        "`timeouts.body` holds both ways",
    ),
    without(
        "fastcgi_ignore_client_abort",
        HSL,
        (1, 1),
        "a client that leaves ends its request",
    ),
    without(
        "fastcgi_next_upstream_timeout",
        HSL,
        (1, 1),
        "each try has its own time limit",
    ),
    without(
        "fastcgi_request_buffering",
        HSL,
        (1, 1),
        "a program gets a body when it is whole, as with `on`",
    ),
    without("fastcgi_cache_*", HSL, (0, MANY), CACHE),
    without("fastcgi_*", HSL, (0, MANY), BUFFERS),
];
