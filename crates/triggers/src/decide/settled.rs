//! Which files of a folder are new, and have not changed for a while: over scans of it, with time passed in.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

/// A file as it is at one moment. While this is the same, the file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    pub inode: u64,
    pub size: u64,
    /// Nanoseconds.
    pub mtime: i128,
}

/// Files that are new or have changed, and since when they are as they are.
pub struct Unsettled {
    window: Duration,
    since: HashMap<String, (Look, Instant)>,
}

// === impl Look ===

impl fmt::Display for Look {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.inode, self.size, self.mtime)
    }
}

// === impl Unsettled ===

impl Unsettled {
    pub fn new(window: Duration) -> Self {
        Self { window, since: HashMap::new() }
    }

    pub fn count(&self) -> usize {
        self.since.len()
    }

    /// Takes what a scan found new or changed, and gives what has been so for the window, oldest first. What it has given,
    /// it gives again with the next scan that finds it so.
    pub fn scan(&mut self, found: Vec<(String, Look)>, now: Instant) -> Vec<(String, Look)> {
        let mut before = std::mem::take(&mut self.since);
        let mut settled = Vec::new();
        for (key, look) in found {
            let since = match before.remove(&key) {
                Some((was, since)) if was == look => since,
                _ => now,
            };
            if now.duration_since(since) >= self.window {
                settled.push((key.clone(), look, since));
            }
            self.since.insert(key, (look, since));
        }
        settled.sort_by(|a, b| (a.1.mtime, &a.0).cmp(&(b.1.mtime, &b.0)));
        settled.into_iter().map(|(key, look, _)| (key, look)).collect()
    }

    /// When the next one is settled, if it does not change.
    pub fn due(&self) -> Option<Instant> {
        self.since.values().map(|(_, since)| *since + self.window).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(size: u64) -> Look {
        Look { inode: 1, size, mtime: i128::from(size) }
    }

    #[test]
    fn a_file_that_grows_is_given_when_it_has_stopped() {
        let window = Duration::from_secs(2);
        let mut files = Unsettled::new(window);
        let start = Instant::now();
        for second in 0..10 {
            let found = vec![("a".to_owned(), look(second))];
            assert!(files.scan(found, start + Duration::from_secs(second)).is_empty());
        }
        let last = start + Duration::from_secs(9);
        assert_eq!(files.due(), Some(last + window));
        let found = || vec![("a".to_owned(), look(9))];
        assert!(files.scan(found(), last + Duration::from_millis(1999)).is_empty());
        assert_eq!(files.scan(found(), last + window), found());
        assert!(files.scan(vec![], last + window).is_empty(), "it is gone, or was kept");
        assert_eq!((files.count(), files.due()), (0, None));
    }

    #[test]
    fn the_oldest_come_first() {
        let mut files = Unsettled::new(Duration::ZERO);
        let found = vec![("b".to_owned(), look(2)), ("c".to_owned(), look(1)), ("a".to_owned(), look(2))];
        let given: Vec<_> = files.scan(found, Instant::now()).into_iter().map(|(key, _)| key).collect();
        assert_eq!(given, ["c", "a", "b"]);
    }
}
