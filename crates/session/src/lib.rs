//! The replicated keyspace: state machine, log, Raft node and agent.
