//! Admin pages and API over telemetry.
