//! Step 1: the method.

/// What a method comes to.
pub(crate) enum Asked {
    /// The file itself.
    Get,
    /// What GET would answer, without the body.
    Head,
    /// What can be asked.
    Options,
    /// Something a file cannot do.
    Unknown,
}

/// The field line that names the methods (RFC 9110 section 10.2.1).
pub(crate) const ALLOW: &str = "Allow: GET, HEAD, OPTIONS\r\n";

/// Reads a method; it is case-sensitive (RFC 9110 section 9.1).
pub(crate) fn read(method: &[u8]) -> Asked {
    match method {
        b"GET" => Asked::Get,
        b"HEAD" => Asked::Head,
        b"OPTIONS" => Asked::Options,
        _ => Asked::Unknown,
    }
}
