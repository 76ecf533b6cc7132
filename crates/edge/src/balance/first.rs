//! The first server of the file that has room. Those further down are idle, and can be switched off, until the ones
//! before them are full; so it is of use only with `max-connections`.

/// The servers that can be used, in the order of the file.
#[derive(Debug)]
pub(crate) struct First(Box<[u32]>);

impl First {
    pub(crate) fn new(servers: &[(u32, u16)]) -> Self {
        Self(servers.iter().map(|&(index, _)| index).collect())
    }

    pub(crate) fn pick(&self, skip: impl Fn(u32) -> bool) -> Option<u32> {
        self.0.iter().copied().find(|&index| !skip(index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_is_asked_only_when_those_before_it_are_not_to_be() {
        let first = First::new(&[(0, 1), (2, 9), (3, 1)]);
        assert_eq!(first.pick(|_| false), Some(0));
        assert_eq!(first.pick(|index| index == 0), Some(2));
        assert_eq!(first.pick(|index| index < 3), Some(3));
        assert_eq!(first.pick(|_| true), None);
    }
}
