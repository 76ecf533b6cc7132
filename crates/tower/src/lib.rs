//! A tower-sessions store on any memcached, with merging saves.
