//! The directives of nginx.conf.

mod fastcgi;
mod modules;
mod programs;
mod streams;
#[cfg(test)]
mod tests;

use super::super::directives::{Language, MANY, Row, refused, refused_on, to, without};
use fastcgi::FASTCGI;
use modules::MODULES;
use programs::{MODIFIERS, SCGI, UWSGI};
use streams::STREAMS;

pub(crate) const MAIN: u16 = 1;
pub(crate) const EVENTS: u16 = 2;
pub(crate) const HTTP: u16 = 4;
pub(crate) const SERVER: u16 = 8;
pub(crate) const LOCATION: u16 = 16;
pub(crate) const UPSTREAM: u16 = 32;
/// `if` in a server, and in a location.
pub(crate) const IF_SERVER: u16 = 64;
pub(crate) const IF: u16 = 128;
pub(crate) const LIMIT_EXCEPT: u16 = 256;
/// Blocks whose entries are free.
pub(crate) const FREE: u16 = 512;
/// `stream`, its servers and upstreams.
pub(crate) const STREAM: u16 = 1024;
pub(crate) const STREAM_SERVER: u16 = 2048;

const HSL: u16 = HTTP | SERVER | LOCATION;
const HSLI: u16 = HSL | IF;
const HS: u16 = HTTP | SERVER;
const SL: u16 = SERVER | LOCATION;

/// The language.
pub(crate) const LANGUAGE: Language = Language {
    title: "nginx.conf, as understood",
    introduction: "What `tandem nginx` and `tandem import` make of each directive. A word that is not here is refused, with the\nnearest one that is. A star stands for what words end in.",
    places: &[
        (MAIN, "main"),
        (EVENTS, "events"),
        (HTTP, "http"),
        (SERVER, "server"),
        (LOCATION, "location"),
        (UPSTREAM, "upstream"),
        (IF_SERVER, "if in server"),
        (IF, "if in location"),
        (LIMIT_EXCEPT, "limit_except"),
        (STREAM, "stream"),
        (STREAM_SERVER, "stream server"),
    ],
    rows: &[
        PROCESS, BLOCKS, SERVERS, FILES, ANSWERS, TUNING, PROXYING, UPSTREAMS, LOGS, TLS, NOT_HERE,
        FAMILIES, FASTCGI, MODIFIERS, UWSGI, SCGI, MODULES, STREAMS,
    ],
};

/// Directives that have a block.
pub(crate) const BLOCK_NAMES: [&str; 14] = [
    "events",
    "http",
    "server",
    "location",
    "upstream",
    "types",
    "if",
    "limit_except",
    "map",
    "geo",
    "split_clients",
    "charset_map",
    "stream",
    "mail",
];

const BUFFERS: &str = "buffers size themselves";
const KERNEL: &str = "the engine chooses how it talks to the kernel";
const WORKERS: &str = "a node is one process with its workers";
const LOG: &str = "the log says what happens, to standard error or to `[cluster] log`";
/// The site works without, and its servers have more to do.
const UNCACHED: &str = "answers are not cached: servers get every request";
const RUSTLS: &str = "TLS is rustls with its own safe choice";

const PROCESS: &[Row] = &[
    to("user", MAIN, (1, 2), "`[cluster] user` and `group`"),
    to("worker_processes", MAIN, (1, 1), "`[cluster] workers`"),
    to("pid", MAIN, (1, 1), "the pid file of `tandem nginx`"),
    to(
        "daemon",
        MAIN,
        (1, 1),
        "whether `tandem nginx` goes into the background",
    ),
    to(
        "error_log",
        MAIN | HSL | STREAM | STREAM_SERVER,
        (1, 2),
        "`[cluster] log`: the one in main; the log is one for all places",
    ),
    to(
        "env",
        MAIN,
        (1, 1),
        "nothing: applications have `env` of their own",
    ),
    without("master_process", MAIN, (1, 1), WORKERS),
    without(
        "worker_rlimit_nofile",
        MAIN,
        (1, 1),
        "the limit of descriptors is raised as far as the system allows",
    ),
    without(
        "worker_rlimit_core",
        MAIN,
        (1, 1),
        "core files are the system's to allow",
    ),
    without(
        "worker_shutdown_timeout",
        MAIN,
        (1, 1),
        "requests in flight have 30 s to finish",
    ),
    without("worker_priority", MAIN, (1, 1), WORKERS),
    without("worker_cpu_affinity", MAIN, (1, MANY), WORKERS),
    without(
        "worker_connections",
        EVENTS,
        (1, 1),
        "connections are limited by descriptors, and by `limits` of listeners",
    ),
    without("worker_aio_requests", EVENTS, (1, 1), KERNEL),
    without(
        "working_directory",
        MAIN,
        (1, 1),
        "core files are the system's to allow",
    ),
    without("timer_resolution", MAIN, (1, 1), KERNEL),
    without("lock_file", MAIN, (1, 1), WORKERS),
    without("pcre_jit", MAIN, (1, 1), "regular expressions are compiled"),
    without("debug_points", MAIN, (1, 1), LOG),
    without("thread_pool", MAIN, (1, 3), WORKERS),
    without("ssl_engine", MAIN, (1, 1), RUSTLS),
    without("use", EVENTS, (1, 1), KERNEL),
    without("multi_accept", EVENTS, (1, 1), KERNEL),
    without("accept_mutex", EVENTS, (1, 1), KERNEL),
    without("accept_mutex_delay", EVENTS, (1, 1), KERNEL),
    without("debug_connection", EVENTS, (1, 1), LOG),
    without(
        "load_module",
        MAIN,
        (1, 1),
        "what modules do is built in, or refused where it is used",
    ),
];

const BLOCKS: &[Row] = &[
    to("events", MAIN, (0, 0), "nothing by itself"),
    to("http", MAIN, (0, 0), "listeners, sites and backends"),
    to(
        "server",
        HTTP | STREAM,
        (0, 0),
        "a listener for each address, and routes with `host` for each name",
    ),
    to(
        "location",
        SL,
        (1, 2),
        "routes with `path`: exact ones first, then as nginx chooses",
    ),
    to("upstream", HTTP | STREAM, (1, 1), "a `[backend.NAME]`"),
    to("types", HSL, (0, 0), "`types` and `only-types` of sites"),
    to(
        "if",
        SL,
        (1, MANY),
        "a route with the condition, for `return` and `rewrite`; a parameter of the query is compared decoded, its name with case",
    ),
    to(
        "limit_except",
        LOCATION,
        (1, MANY),
        "a route with `not = { method = [...] }`",
    ),
    to("stream", MAIN, (0, 0), "listeners with `mode = \"tcp\"`"),
    to(
        "map",
        HTTP,
        (2, 2),
        "conditions of routes, where an `if` asks for its variable; where it is filled in a route for each value",
    ),
    to(
        "geo",
        HTTP,
        (1, 2),
        "`source` of routes, where an `if` asks for its variable; where it is filled in a route for each value",
    ),
    refused(
        "split_clients",
        HTTP,
        (2, 2),
        "`to = { a = 95, b = 5 }` of a route splits clients",
    ),
    refused("mail", MAIN, (0, 0), "mail is not proxied"),
];

const SERVERS: &[Row] = &[
    to(
        "listen",
        SERVER | STREAM_SERVER,
        (1, MANY),
        "`bind` of a listener; `ssl` its `tls`, `proxy_protocol` its `proxy-protocol`",
    ),
    to("server_name", SERVER, (1, MANY), "`host` of routes"),
    to(
        "client_max_body_size",
        HSL,
        (1, 1),
        "`limits.body` of the listener, and of the routes of places that say otherwise; 1 MiB without it",
    ),
    to(
        "client_header_timeout",
        HS,
        (1, 1),
        "`timeouts.head` of the listener",
    ),
    to(
        "client_body_timeout",
        HSL,
        (1, 1),
        "`timeouts.body` of the listener",
    ),
    to(
        "keepalive_timeout",
        HSL,
        (1, 2),
        "`timeouts.idle` of the listener",
    ),
    to(
        "set_real_ip_from",
        HSL,
        (1, 1),
        "`trust` of the listener, with `real_ip_header X-Forwarded-For` or `proxy_protocol`",
    ),
    to(
        "real_ip_header",
        HSL,
        (1, 1),
        "X-Forwarded-For and `proxy_protocol`: `trust` of the listener; others are refused",
    ),
    to(
        "real_ip_recursive",
        HSL,
        (1, 1),
        "`on`: the last address that is not in `trust` is the client; `off` is told",
    ),
    without(
        "send_timeout",
        HSL,
        (1, 1),
        "`timeouts.body` holds both ways",
    ),
    without(
        "keepalive_requests",
        HSL,
        (1, 1),
        "a connection may have any number of requests",
    ),
    without(
        "keepalive_time",
        HSL,
        (1, 1),
        "a connection may live for any time",
    ),
    without(
        "keepalive_disable",
        HSL,
        (1, MANY),
        "browsers that broke kept connections are gone",
    ),
    without("server_names_hash_bucket_size", HTTP, (1, 1), BUFFERS),
    without("server_names_hash_max_size", HTTP, (1, 1), BUFFERS),
    without("types_hash_max_size", HSL, (1, 1), BUFFERS),
    without("types_hash_bucket_size", HSL, (1, 1), BUFFERS),
    without("variables_hash_max_size", HTTP, (1, 1), BUFFERS),
    without("variables_hash_bucket_size", HTTP, (1, 1), BUFFERS),
    without("map_hash_max_size", HTTP, (1, 1), BUFFERS),
    without("map_hash_bucket_size", HTTP, (1, 1), BUFFERS),
    without("proxy_headers_hash_max_size", HSL, (1, 1), BUFFERS),
    without("proxy_headers_hash_bucket_size", HSL, (1, 1), BUFFERS),
    without("client_header_buffer_size", HS, (1, 1), BUFFERS),
    without("large_client_header_buffers", HS, (2, 2), BUFFERS),
    without("client_body_buffer_size", HSL, (1, 1), BUFFERS),
    without(
        "client_body_temp_path",
        HSL,
        (1, 4),
        "bodies are passed as they come, never written to disk",
    ),
    without(
        "client_body_in_file_only",
        HSL,
        (1, 1),
        "bodies are passed as they come, never written to disk",
    ),
    without(
        "client_body_in_single_buffer",
        HSL,
        (1, 1),
        "bodies are passed as they come",
    ),
    without("connection_pool_size", HS, (1, 1), BUFFERS),
    without("request_pool_size", HS, (1, 1), BUFFERS),
    without("server_tokens", HSL, (1, 1), "no version is shown"),
    without(
        "server_name_in_redirect",
        HSL,
        (1, 1),
        "redirects name the host that was asked",
    ),
    without(
        "port_in_redirect",
        HSL,
        (1, 1),
        "redirects name the port that was asked",
    ),
    to(
        "absolute_redirect",
        HSL,
        (1, 1),
        "`redirect` to a URL, or with `off` to a path; redirects to a directory always name a path",
    ),
    without(
        "ignore_invalid_headers",
        HS,
        (1, 1),
        "names of fields follow RFC 9110 or the request is refused",
    ),
    without(
        "underscores_in_headers",
        HS,
        (1, 1),
        "fields whose names have underscores pass",
    ),
    without(
        "merge_slashes",
        HS,
        (1, 1),
        "paths are compared in their normal form, with slashes merged",
    ),
    without(
        "resolver",
        HSL | UPSTREAM,
        (1, MANY),
        "names are looked up through the system's resolver",
    ),
    without(
        "resolver_timeout",
        HSL | UPSTREAM,
        (1, 1),
        "names are looked up through the system's resolver",
    ),
    without(
        "http2",
        HS,
        (1, 1),
        "HTTP/1.1 and HTTP/2 are negotiated by themselves",
    ),
    without("http2_max_concurrent_streams", HS, (1, 1), BUFFERS),
    without("reset_timedout_connection", HSL, (1, 1), KERNEL),
    without("lingering_close", HSL, (1, 1), KERNEL),
    without("lingering_time", HSL, (1, 1), KERNEL),
    without("lingering_timeout", HSL, (1, 1), KERNEL),
];

const FILES: &[Row] = &[
    to("root", HSLI, (1, 1), "`root` of a site"),
    to("alias", LOCATION, (1, 1), "`aliases` of a site"),
    to("index", HSL, (1, MANY), "`index` of a site"),
    to(
        "try_files",
        SL,
        (2, MANY),
        "`fallback` of a site, or `missing` of the route; `directories = false` without `$uri/`",
    ),
    to("autoindex", HSL, (1, 1), "`listing` of a site"),
    to(
        "expires",
        HSLI,
        (1, 2),
        "`expires` of a site, or `Cache-Control` of the route",
    ),
    to("default_type", HSL, (1, 1), "`types` of a site: `\"*\"`"),
    to("charset", HSLI, (1, 1), "`charset` of a site"),
    to(
        "flv",
        LOCATION,
        (0, 0),
        "sites send Flash video from the middle by themselves",
    ),
    to("stub_status", SL, (0, 1), "`status` of a site"),
    to(
        "gzip",
        HSLI,
        (1, 1),
        "`compress` of sites and of routes to servers",
    ),
    to("gzip_static", HSL, (1, 1), "`precompressed` of sites"),
    to(
        "gzip_types",
        HSL,
        (1, MANY),
        "`types` of `compress` of what servers answer; of a site's files text is compressed, whatever its type is called",
    ),
    without(
        "gzip_comp_level",
        HSL,
        (1, 1),
        "compression has one good level",
    ),
    to(
        "gzip_min_length",
        HSL,
        (1, 1),
        "`min` of `compress` of what servers answer; a site's file that would not get smaller is sent as it is",
    ),
    without(
        "gzip_vary",
        HSL,
        (1, 1),
        "`Vary` is always sent where it belongs",
    ),
    without(
        "gzip_proxied",
        HSL,
        (1, MANY),
        "what may be compressed is known by the answer",
    ),
    without(
        "gzip_disable",
        HSL,
        (1, MANY),
        "browsers that broke compression are gone",
    ),
    without("gzip_buffers", HSL, (2, 2), BUFFERS),
    without(
        "gzip_http_version",
        HSL,
        (1, 1),
        "HTTP/1.0 clients say what they take, too",
    ),
    without(
        "gunzip",
        HSL,
        (1, 1),
        "a client that does not take gzip gets the file itself",
    ),
    without(
        "autoindex_exact_size",
        HSL,
        (1, 1),
        "the listing has its own form",
    ),
    without(
        "autoindex_localtime",
        HSL,
        (1, 1),
        "the listing has its own form",
    ),
    to(
        "autoindex_format",
        HSL,
        (1, 1),
        "`html` is what is sent; others are refused",
    ),
    to(
        "charset_types",
        HSL,
        (1, MANY),
        "`types` of a site with their charset",
    ),
    without(
        "override_charset",
        HSLI,
        (1, 1),
        "what applications say stays",
    ),
    without("sendfile", HSLI, (1, 1), KERNEL),
    without("sendfile_max_chunk", HSL, (1, 1), KERNEL),
    without("tcp_nopush", HSL, (1, 1), KERNEL),
    without("tcp_nodelay", HSL, (1, 1), KERNEL),
    without("aio", HSL, (1, 1), KERNEL),
    without("aio_write", HSL, (1, 1), KERNEL),
    without("directio", HSL, (1, 1), KERNEL),
    without("directio_alignment", HSL, (1, 1), KERNEL),
    without("output_buffers", HSL, (2, 2), BUFFERS),
    without("postpone_output", HSL, (1, 1), BUFFERS),
    without("read_ahead", HSL, (1, 1), KERNEL),
    without(
        "open_file_cache",
        HSL,
        (1, 2),
        "small files are kept in memory by themselves",
    ),
    without(
        "open_file_cache_valid",
        HSL,
        (1, 1),
        "small files are kept in memory by themselves",
    ),
    without(
        "open_file_cache_min_uses",
        HSL,
        (1, 1),
        "small files are kept in memory by themselves",
    ),
    without(
        "open_file_cache_errors",
        HSL,
        (1, 1),
        "small files are kept in memory by themselves",
    ),
    without(
        "log_not_found",
        HSL,
        (1, 1),
        "a file that is not there is in the access log alone",
    ),
    without("etag", HSL, (1, 1), "files have an ETag"),
    without("if_modified_since", HSL, (1, 1), "as RFC 9110 has it"),
    without(
        "max_ranges",
        HSL,
        (1, 1),
        "ranges are limited by themselves",
    ),
    without(
        "msie_padding",
        HSL,
        (1, 1),
        "browsers that needed it are gone",
    ),
    without(
        "msie_refresh",
        HSL,
        (1, 1),
        "browsers that needed it are gone",
    ),
    without(
        "chunked_transfer_encoding",
        HSL,
        (1, 1),
        "as RFC 9112 has it",
    ),
    without(
        "recursive_error_pages",
        HSL,
        (1, 1),
        "an error page is a file",
    ),
    without(
        "disable_symlinks",
        HSL,
        (1, 2),
        "nothing outside of a site's root is ever read",
    ),
];

const ANSWERS: &[Row] = &[
    to(
        "return",
        SL | IF_SERVER | IF,
        (1, 2),
        "a route with `respond` or `redirect`",
    ),
    to(
        "rewrite",
        SL | IF_SERVER | IF,
        (2, 3),
        "a route with `redirect` or `rewrite`",
    ),
    to(
        "error_page",
        HSLI,
        (2, MANY),
        "`errors` of a site or a route; `missing` of the route",
    ),
    to(
        "add_header",
        HSLI,
        (2, 3),
        "`headers.success` of routes, with `always` `headers.response`",
    ),
    to(
        "allow",
        HSL | LIMIT_EXCEPT,
        (1, 1),
        "`access` of a site, or routes with `source`",
    ),
    to(
        "deny",
        HSL | LIMIT_EXCEPT,
        (1, 1),
        "`access` of a site, or routes with `source`",
    ),
    to(
        "internal",
        LOCATION,
        (0, 0),
        "a route that answers 404, and one with `internal` for what an application hands over",
    ),
    to(
        "satisfy",
        HSL,
        (1, 1),
        "`any`: a route with `source` and without `auth` before the one with it",
    ),
    to(
        "break",
        SL | IF_SERVER | IF,
        (0, 0),
        "no route of what comes after it; in an `if` a route to what the location does",
    ),
    without("rewrite_log", SL | HTTP | IF_SERVER | IF, (1, 1), LOG),
    without(
        "uninitialized_variable_warn",
        SL | HTTP | IF_SERVER | IF,
        (1, 1),
        LOG,
    ),
    to(
        "set",
        SL | IF_SERVER | IF,
        (2, 2),
        "what is filled in where its variable is named; in an `if` routes with the condition",
    ),
];

const TUNING: &[Row] = &[
    without(
        "proxy_buffering",
        HSL,
        (1, 1),
        "answers are passed as they come",
    ),
    without("proxy_buffer_size", HSL, (1, 1), BUFFERS),
    without("proxy_buffers", HSL, (2, 2), BUFFERS),
    without("proxy_busy_buffers_size", HSL, (1, 1), BUFFERS),
    without(
        "proxy_temp_path",
        HSL,
        (1, 4),
        "answers are passed as they come, never written to disk",
    ),
    without(
        "proxy_temp_file_write_size",
        HSL,
        (1, 1),
        "answers are passed as they come, never written to disk",
    ),
    without(
        "proxy_max_temp_file_size",
        HSL,
        (1, 1),
        "answers are passed as they come, never written to disk",
    ),
    without(
        "proxy_request_buffering",
        HSL,
        (1, 1),
        "requests are passed as they come",
    ),
    without(
        "proxy_ignore_client_abort",
        HSL,
        (1, 1),
        "a client that is gone ends its request",
    ),
    without("proxy_socket_keepalive", HSL, (1, 1), KERNEL),
    to(
        "proxy_intercept_errors",
        HSL,
        (1, 1),
        "`upstream = true` of the pages in `errors` of a route",
    ),
    refused(
        "proxy_set_body",
        HSL,
        (1, 1),
        "servers get the bodies that clients send",
    ),
];

const PROXYING: &[Row] = &[
    to(
        "proxy_pass",
        LOCATION | IF | LIMIT_EXCEPT | STREAM_SERVER,
        (1, 1),
        "`to` a backend, with `strip` or `rewrite` when it has a path",
    ),
    to(
        "proxy_set_header",
        HSL,
        (2, 2),
        "`headers.request` of the route",
    ),
    to(
        "proxy_hide_header",
        HSL,
        (1, 1),
        "`headers.response.remove` of the route",
    ),
    to(
        "proxy_connect_timeout",
        HSL | STREAM | STREAM_SERVER,
        (1, 1),
        "`timeouts.connect` of the backend",
    ),
    to(
        "proxy_read_timeout",
        HSL,
        (1, 1),
        "`timeouts.first-byte` and `body` of the backend",
    ),
    to(
        "proxy_next_upstream",
        HSL,
        (1, MANY),
        "`retry.on` of the backend, and `retry = 0` when it is off",
    ),
    to(
        "proxy_next_upstream_tries",
        HSL,
        (1, 1),
        "`retry` of the backend",
    ),
    to(
        "proxy_ssl_verify",
        HSL | STREAM | STREAM_SERVER,
        (1, 1),
        "`tls.verify` of the backend",
    ),
    to(
        "proxy_ssl_name",
        HSL | STREAM | STREAM_SERVER,
        (1, 1),
        "`tls.name` of the backend",
    ),
    to(
        "proxy_ssl_trusted_certificate",
        HSL | STREAM | STREAM_SERVER,
        (1, 1),
        "`tls.ca` of the backend",
    ),
    without(
        "proxy_send_timeout",
        HSL,
        (1, 1),
        "`timeouts.body` holds both ways",
    ),
    to(
        "proxy_timeout",
        STREAM | STREAM_SERVER,
        (1, 1),
        "`timeouts.idle` of the listener",
    ),
    without(
        "proxy_http_version",
        HSL,
        (1, 1),
        "HTTP/1.1 is spoken to servers",
    ),
    without(
        "proxy_pass_header",
        HSL,
        (1, 1),
        "what applications say passes",
    ),
    to(
        "proxy_pass_request_headers",
        HSL,
        (1, 1),
        "fields pass; `off` is refused",
    ),
    to(
        "proxy_pass_request_body",
        HSL,
        (1, 1),
        "bodies pass; `off` is refused but for what `auth_request` asks, which has none",
    ),
    to(
        "proxy_redirect",
        HSL,
        (1, 2),
        "`headers.response.replace` of routes: `Location`",
    ),
    to(
        "proxy_cookie_path",
        HSL,
        (1, 2),
        "`headers.response.replace` of routes: `Set-Cookie`",
    ),
    to(
        "proxy_cookie_domain",
        HSL,
        (1, 2),
        "`headers.response.replace` of routes: `Set-Cookie`",
    ),
    without(
        "proxy_next_upstream_timeout",
        HSL,
        (1, 1),
        "tries have the time limits of requests",
    ),
    without(
        "proxy_ssl_server_name",
        HSL,
        (1, 1),
        "the name is always asked for",
    ),
    without(
        "proxy_ssl_session_reuse",
        HSL | STREAM | STREAM_SERVER,
        (1, 1),
        RUSTLS,
    ),
    without(
        "proxy_ssl_protocols",
        HSL | STREAM | STREAM_SERVER,
        (1, MANY),
        RUSTLS,
    ),
    without(
        "proxy_ssl_ciphers",
        HSL | STREAM | STREAM_SERVER,
        (1, 1),
        RUSTLS,
    ),
    without(
        "proxy_ssl_verify_depth",
        HSL | STREAM | STREAM_SERVER,
        (1, 1),
        RUSTLS,
    ),
];

const UPSTREAMS: &[Row] = &[
    to(
        "server",
        UPSTREAM,
        (1, MANY),
        "one of `servers` of the backend",
    ),
    to("ip_hash", UPSTREAM, (0, 0), "`balance = \"source\"`"),
    to(
        "least_conn",
        UPSTREAM,
        (0, 0),
        "`balance = \"least-connections\"`",
    ),
    to(
        "hash",
        UPSTREAM,
        (1, 2),
        "`balance`: `uri`, `source`, `header:NAME` or `cookie:NAME`",
    ),
    to("random", UPSTREAM, (0, 2), "`balance = \"random\"`"),
    to("sticky", UPSTREAM, (1, MANY), "`stick` of the backend"),
    without(
        "keepalive",
        UPSTREAM,
        (1, 1),
        "connections to servers are kept by themselves",
    ),
    without(
        "keepalive_requests",
        UPSTREAM,
        (1, 1),
        "connections to servers are kept by themselves",
    ),
    without(
        "keepalive_timeout",
        UPSTREAM,
        (1, 1),
        "connections to servers are kept by themselves",
    ),
    without(
        "keepalive_time",
        UPSTREAM,
        (1, 1),
        "connections to servers are kept by themselves",
    ),
    without(
        "zone",
        UPSTREAM,
        (1, 2),
        "workers share what they know of servers",
    ),
];

const LOGS: &[Row] = &[
    to(
        "access_log",
        HSLI | LIMIT_EXCEPT | STREAM | STREAM_SERVER,
        (1, MANY),
        "`log` of the listener; `off` is `log = false` of the listener or the route",
    ),
    without(
        "log_format",
        HTTP | STREAM,
        (2, MANY),
        "the access log is in combined form with timings",
    ),
    without("open_log_file_cache", HSL, (1, 4), "the log stays open"),
    without("log_subrequest", HSL, (1, 1), "there are no subrequests"),
];

const TLS: &[Row] = &[
    to(
        "ssl_certificate",
        HS | STREAM | STREAM_SERVER,
        (1, 1),
        "`tls` of the listener",
    ),
    to(
        "ssl_certificate_key",
        HS | STREAM | STREAM_SERVER,
        (1, 1),
        "`tls` of the listener",
    ),
    to(
        "ssl_client_certificate",
        HS | STREAM | STREAM_SERVER,
        (1, 1),
        "`tls.client-ca` of the listener, when clients are asked",
    ),
    to(
        "ssl_verify_client",
        HS | STREAM | STREAM_SERVER,
        (1, 1),
        "`tls.client-ca` and `client-cert` of the listener; one that does not verify ends the handshake",
    ),
    to(
        "ssl_protocols",
        HS | STREAM | STREAM_SERVER,
        (1, MANY),
        "`tls.min` of the listener",
    ),
    without("ssl_ciphers", HS | STREAM | STREAM_SERVER, (1, 1), RUSTLS),
    without(
        "ssl_prefer_server_ciphers",
        HS | STREAM | STREAM_SERVER,
        (1, 1),
        RUSTLS,
    ),
    without(
        "ssl_session_cache",
        HS | STREAM | STREAM_SERVER,
        (1, 2),
        RUSTLS,
    ),
    without(
        "ssl_session_timeout",
        HS | STREAM | STREAM_SERVER,
        (1, 1),
        RUSTLS,
    ),
    without(
        "ssl_session_tickets",
        HS | STREAM | STREAM_SERVER,
        (1, 1),
        RUSTLS,
    ),
    without(
        "ssl_session_ticket_key",
        HS | STREAM | STREAM_SERVER,
        (1, 1),
        RUSTLS,
    ),
    without("ssl_dhparam", HS | STREAM | STREAM_SERVER, (1, 1), RUSTLS),
    without(
        "ssl_ecdh_curve",
        HS | STREAM | STREAM_SERVER,
        (1, 1),
        RUSTLS,
    ),
    without("ssl_buffer_size", HS, (1, 1), RUSTLS),
    without(
        "ssl_stapling",
        HS,
        (1, 1),
        "answers of authorities are not stapled",
    ),
    without(
        "ssl_stapling_verify",
        HS,
        (1, 1),
        "answers of authorities are not stapled",
    ),
    without(
        "ssl_trusted_certificate",
        HS | STREAM | STREAM_SERVER,
        (1, 1),
        "answers of authorities are not stapled",
    ),
    without(
        "ssl_verify_depth",
        HS | STREAM | STREAM_SERVER,
        (1, 1),
        RUSTLS,
    ),
    without(
        "ssl_conf_command",
        HS | STREAM | STREAM_SERVER,
        (2, 2),
        RUSTLS,
    ),
    without("ssl_early_data", HS, (1, 1), RUSTLS),
    to(
        "ssl",
        HS,
        (1, 1),
        "`tls` of the listeners, as `listen ... ssl`",
    ),
    refused(
        "ssl_password_file",
        HS | STREAM | STREAM_SERVER,
        (1, 1),
        "keys are not encrypted here: only the user the node starts as may read them",
    ),
];

const NOT_HERE: &[Row] = &[
    refused(
        "memcached_pass",
        LOCATION | IF,
        (1, 1),
        "answers are not taken from memcached",
    ),
    refused(
        "grpc_pass",
        LOCATION | IF,
        (1, 1),
        "HTTP/1.1 is spoken to servers",
    ),
    without("proxy_cache", HSL, (1, 1), UNCACHED),
    without(
        "proxy_cache_path",
        HTTP,
        (1, MANY),
        "answers are not cached",
    ),
    without(
        "proxy_cache_valid",
        HSL,
        (1, MANY),
        "answers are not cached",
    ),
    without("proxy_cache_key", HSL, (1, 1), "answers are not cached"),
    without(
        "proxy_cache_bypass",
        HSL,
        (1, MANY),
        "answers are not cached",
    ),
    without("proxy_no_cache", HSL, (1, MANY), "answers are not cached"),
    to(
        "proxy_ignore_headers",
        HSL,
        (1, MANY),
        "nothing, as answers are not cached; of `X-Accel-Redirect` it is refused beside a location that is `internal`",
    ),
    refused_on("proxy_store", HSL, (1, 1), "answers are not stored"),
    to(
        "auth_basic",
        HSL | LIMIT_EXCEPT,
        (1, 1),
        "`auth.realm` of routes, `off` nothing",
    ),
    to(
        "auth_basic_user_file",
        HSL | LIMIT_EXCEPT,
        (1, 1),
        "`auth.file` of routes; plain passwords, `{SHA}` and DES are refused",
    ),
    to(
        "auth_request",
        HSL,
        (1, 1),
        "`authorize` of routes, `off` nothing",
    ),
    to(
        "auth_request_set",
        HSL,
        (2, 2),
        "`{authorized:NAME}` in what is made of it: fields of requests and answers, where refusals lead",
    ),
    to(
        "limit_req",
        HSL,
        (1, MANY),
        "`rate` of routes; `burst` is one less than theirs",
    ),
    without(
        "limit_req_status",
        HSL,
        (1, 1),
        "who asks too often is answered 429",
    ),
    without(
        "limit_req_log_level",
        HSL,
        (1, 1),
        "who asked too often is in the access log",
    ),
    to(
        "limit_req_zone",
        HTTP,
        (3, 4),
        "`limit` of the `rate` of routes that use it",
    ),
    to("limit_conn", HSL, (2, 2), "`limits.per-source` of routes"),
    to(
        "limit_conn_zone",
        HTTP,
        (2, 2),
        "what `limits.per-source` of routes counts by: the client's address",
    ),
    refused_on(
        "limit_rate",
        HSLI,
        (1, 1),
        "answers are sent as fast as clients take them: the system can share the line out (tc), and `limits.per-source` of a route says how many requests a client has at once",
    ),
    refused_on(
        "limit_rate_after",
        HSLI,
        (1, 1),
        "answers are sent as fast as clients take them",
    ),
    refused("sub_filter", HSL, (2, 2), "answers pass as they are"),
    refused_on("ssi", HSLI, (1, 1), "answers pass as they are"),
    refused(
        "mp4",
        LOCATION,
        (0, 0),
        "sites send Flash video from the middle, MP4 by ranges",
    ),
    refused_on("dav_methods", HSL, (1, MANY), "sites are read"),
    refused_on("mirror", HSL, (1, 1), "requests go to one place"),
    refused_on(
        "random_index",
        LOCATION,
        (1, 1),
        "a directory has one index",
    ),
    refused("secure_link", HSL, (1, 1), "links are not signed"),
    refused_on(
        "image_filter",
        LOCATION,
        (1, MANY),
        "answers pass as they are",
    ),
    refused(
        "perl",
        LOCATION | LIMIT_EXCEPT,
        (1, 1),
        "an application does what scripts did",
    ),
    refused("empty_gif", LOCATION, (0, 0), "a site has files"),
];

/// Protocols that are not spoken: what is said of them has no effect, as what would speak them is refused.
const FAMILIES: &[Row] = &[
    without("memcached_bind", HSL, (1, 2), "`memcached_pass` is refused"),
    without("grpc_*", HSL, (0, MANY), "`grpc_pass` is refused"),
    without("memcached_*", HSL, (0, MANY), "`memcached_pass` is refused"),
];
