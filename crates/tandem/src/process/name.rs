//! What a process is called where processes are listed: by `ps`, and by the verbs that meet a node which ends.

/// Of a node that stops.
const STOPS: &std::ffi::CStr = c"tandem-stops";
/// Of a process whose place another one has.
const DRAINS: &std::ffi::CStr = c"tandem-drains";

/// From now on it stops. To be called by the thread that the process began with.
pub fn stops() {
    // It ends whatever it is called.
    let _ = rustix::thread::set_name(STOPS);
}

/// From now on it drains. To be called by the thread that the process began with.
pub fn drains() {
    let _ = rustix::thread::set_name(DRAINS);
}

/// Whether a node's process has begun to stop.
pub fn is_stopping(pid: u32) -> bool {
    let name = std::fs::read(format!("/proc/{pid}/comm"));
    name.is_ok_and(|name| name.trim_ascii_end() == STOPS.to_bytes())
}
