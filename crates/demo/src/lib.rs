//! The demo: its pages, its axum application, the embedded example.
