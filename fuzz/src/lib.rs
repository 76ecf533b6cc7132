//! What the fuzz targets do with their input. Plain tests of the crates replay the corpora through the same functions.

pub mod memcache;
