//! The columns of statistics, in their order (HAProxy's management guide, section 9.1), with what typed output says of them
//! (section 9.2): origin, nature and scope, and the type.

use std::collections::HashMap;
use std::sync::LazyLock;

/// A column: its name, its tags, its type.
pub type Field = (&'static str, &'static str, &'static str);

/// The columns of `show stat`.
#[rustfmt::skip]
pub const STATISTICS: &[Field] = &[
    ("pxname", "KNS", "str"),
    ("svname", "KNS", "str"),
    ("qcur", "MGP", "u32"),
    ("qmax", "MMP", "u32"),
    ("scur", "MGP", "u32"),
    ("smax", "MMP", "u32"),
    ("slim", "CLP", "u32"),
    ("stot", "MCP", "u64"),
    ("bin", "MCP", "u64"),
    ("bout", "MCP", "u64"),
    ("dreq", "MCP", "u64"),
    ("dresp", "MCP", "u64"),
    ("ereq", "MCP", "u64"),
    ("econ", "MCP", "u64"),
    ("eresp", "MCP", "u64"),
    ("wretr", "MCP", "u64"),
    ("wredis", "MCP", "u64"),
    ("status", "SGP", "str"),
    ("weight", "MaP", "u32"),
    ("act", "SGP", "u32"),
    ("bck", "SGP", "u32"),
    ("chkfail", "MCP", "u64"),
    ("chkdown", "MCP", "u64"),
    ("lastchg", "MAP", "u32"),
    ("downtime", "MCP", "u32"),
    ("qlimit", "CLS", "u32"),
    ("pid", "KGP", "u32"),
    ("iid", "KGS", "u32"),
    ("sid", "KGS", "u32"),
    ("throttle", "MaP", "u32"),
    ("lbtot", "MCP", "u64"),
    ("tracked", "CNS", "str"),
    ("type", "CGS", "u32"),
    ("rate", "MRP", "u32"),
    ("rate_lim", "CLP", "u32"),
    ("rate_max", "MMP", "u32"),
    ("check_status", "MOP", "str"),
    ("check_code", "MOP", "u32"),
    ("check_duration", "MDP", "u64"),
    ("hrsp_1xx", "MCP", "u64"),
    ("hrsp_2xx", "MCP", "u64"),
    ("hrsp_3xx", "MCP", "u64"),
    ("hrsp_4xx", "MCP", "u64"),
    ("hrsp_5xx", "MCP", "u64"),
    ("hrsp_other", "MCP", "u64"),
    ("hanafail", "MCP", "u64"),
    ("req_rate", "MRP", "u32"),
    ("req_rate_max", "MMP", "u32"),
    ("req_tot", "MCP", "u64"),
    ("cli_abrt", "MCP", "u64"),
    ("srv_abrt", "MCP", "u64"),
    ("comp_in", "MCP", "u64"),
    ("comp_out", "MCP", "u64"),
    ("comp_byp", "MCP", "u64"),
    ("comp_rsp", "MCP", "u64"),
    ("lastsess", "MAP", "s32"),
    ("last_chk", "MOP", "str"),
    ("last_agt", "MOP", "str"),
    ("qtime", "MaP", "u32"),
    ("ctime", "MaP", "u32"),
    ("rtime", "MaP", "u32"),
    ("ttime", "MaP", "u32"),
    ("agent_status", "MOP", "str"),
    ("agent_code", "MOP", "u32"),
    ("agent_duration", "MDP", "u64"),
    ("check_desc", "MOP", "str"),
    ("agent_desc", "MOP", "str"),
    ("check_rise", "CGS", "u32"),
    ("check_fall", "CGS", "u32"),
    ("check_health", "CGS", "u32"),
    ("agent_rise", "CGS", "u32"),
    ("agent_fall", "CGS", "u32"),
    ("agent_health", "CGS", "u32"),
    ("addr", "CGS", "str"),
    ("cookie", "CNS", "str"),
    ("mode", "CGS", "str"),
    ("algo", "CGS", "str"),
    ("conn_rate", "MRP", "u32"),
    ("conn_rate_max", "MMP", "u32"),
    ("conn_tot", "MCP", "u64"),
    ("intercepted", "MCP", "u64"),
    ("dcon", "MCP", "u64"),
    ("dses", "MCP", "u64"),
    ("wrew", "MCP", "u64"),
    ("connect", "MCP", "u64"),
    ("reuse", "MCP", "u64"),
    ("cache_lookups", "MCP", "u64"),
    ("cache_hits", "MCP", "u64"),
    ("srv_icur", "MGP", "u32"),
    ("src_ilim", "CLP", "u32"),
    ("qtime_max", "MMP", "u32"),
    ("ctime_max", "MMP", "u32"),
    ("rtime_max", "MMP", "u32"),
    ("ttime_max", "MMP", "u32"),
    ("eint", "MCP", "u64"),
    ("idle_conn_cur", "MGP", "u32"),
    ("safe_conn_cur", "MGP", "u32"),
    ("used_conn_cur", "MGP", "u32"),
    ("need_conn_est", "MGP", "u32"),
    ("uweight", "MaP", "u32"),
    ("agg_server_status", "MGP", "u32"),
    ("agg_server_check_status", "MGP", "u32"),
    ("agg_check_status", "MGP", "u32"),
];

static PLACES: LazyLock<HashMap<&str, usize>> = LazyLock::new(|| {
    let names = STATISTICS.iter().map(|(name, ..)| *name);
    names.zip(0..).collect()
});

/// What is known of one thing, by column; what is not known stays empty.
#[derive(Clone, Debug)]
pub struct Row {
    /// `F`, `B` or `S`.
    pub kind: char,
    /// The section's number.
    pub proxy: u32,
    /// The server's; 0 is the section itself.
    pub server: u32,
    pub values: Vec<Option<String>>,
}

impl Row {
    pub fn new(kind: char, proxy: u32, server: u32) -> Self {
        Self {
            kind,
            proxy,
            server,
            values: vec![None; STATISTICS.len()],
        }
    }

    /// Fills in a column.
    pub fn put(&mut self, name: &str, value: impl ToString) {
        if let Some(&place) = PLACES.get(name) {
            self.values[place] = Some(value.to_string());
        }
    }

    /// Empties a column.
    pub fn hide(&mut self, name: &str) {
        if let Some(&place) = PLACES.get(name) {
            self.values[place] = None;
        }
    }

    /// What is in a column.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values[*PLACES.get(name)?].as_deref()
    }
}
