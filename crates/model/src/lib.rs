//! The checked cluster as plain immutable types.
