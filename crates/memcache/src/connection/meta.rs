//! Meta commands, from their flags to an operation.

use std::io;

use tokio::io::AsyncWrite;

use super::{Exchange, crowded, life};
use crate::MAX_KEY;
use crate::extended::{Action, Extended};
use crate::keyspace::{Answer, Keyspace};
use crate::meta::reply::Writer;
use crate::meta::{Meta, Verb};
use crate::op::{Lifetime, Reply};
use crate::output::Granted;

impl<S: AsyncWrite + Unpin, K: Keyspace + ?Sized> Exchange<'_, '_, S, K> {
    pub(super) async fn meta(&mut self, meta: &Meta<'_>) -> io::Result<()> {
        let mut room = [0; MAX_KEY];
        let key = meta.key(&mut room);
        let op = self.operation(meta, key);
        self.cx.stats.count_meta(self.cx.worker);
        let observed = self.observed();
        let classes = self.cx.stats.classes();
        // A value is known to take room.
        let mut waits = false;
        loop {
            let output = &mut *self.output;
            let granted = output.reserve_for(self.stream, self.keyspace, &op, waits);
            let granted = granted.await?;
            let mut writer = Writer::new(self.output.bytes(), meta, key, classes);
            let reply = match granted {
                Granted::Nothing => {
                    self.answer(&crowded(meta.verb == Verb::Set));
                    break;
                }
                Granted::Little(bytes) => {
                    match observed.get_within(&[key], bytes, &mut writer).await {
                        Reply::Partly(_) => {
                            waits = true;
                            continue;
                        }
                        reply => reply,
                    }
                }
                Granted::All if meta.verb == Verb::Debug => {
                    // Nobody has asked for the item.
                    match self.keyspace.extended(op, &mut writer) {
                        Answer::Now(reply) => reply,
                        Answer::Later(reply) => reply.await,
                    }
                }
                Granted::All => observed.extended(op, &mut writer).await,
            };
            writer.finish(&reply);
            break;
        }
        self.output.settle();
        Ok(())
    }

    fn operation<'m>(&self, meta: &'m Meta<'_>, key: &'m [u8]) -> Extended<'m> {
        let flags = &meta.flags;
        let time = |exptime: Option<i64>| exptime.map(|exptime| life(self.cx, exptime));
        let mut details = flags.history;
        let action = match meta.verb {
            Verb::Get => Action::Get {
                life: time(flags.exptime),
                vivify: time(flags.vivify),
                recache: flags
                    .recache
                    .map(|seconds| (seconds.max(0) as u64).saturating_mul(1000)),
                unnoticed: flags.unnoticed,
            },
            Verb::Debug => {
                details = true;
                Action::Get {
                    life: None,
                    vivify: None,
                    recache: None,
                    unnoticed: true,
                }
            }
            Verb::Set => Action::Store {
                mode: flags.mode,
                flags: flags.client_flags,
                life: time(flags.exptime).unwrap_or(Lifetime::Forever),
                value: meta.value,
                invalidate: flags.invalidate,
                vivify: time(flags.vivify),
            },
            Verb::Delete => Action::Delete {
                invalidate: flags.invalidate,
                clear: flags.clear,
                life: time(flags.exptime),
            },
            Verb::Arithmetic => {
                details = flags.remaining;
                Action::Arithmetic {
                    delta: flags.delta,
                    down: flags.down,
                    life: time(flags.exptime),
                    create: time(flags.vivify).map(|life| (life, flags.initial)),
                }
            }
        };
        Extended {
            key,
            action,
            // That of `mg` is a matter of what is shown.
            compare: flags.compare.filter(|_| meta.verb != Verb::Get),
            new_version: flags.new_version,
            details,
        }
    }
}
