//! Isolations: the technologies that sandboxes are made with, and how a function chooses among them.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::id::InvalidId;

/// The technology that a sandbox is made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// Linux namespaces, seccomp and cgroups: built in.
    Namespace,
    /// Containers of a Docker Engine on this machine.
    Docker,
    /// gVisor: a kernel of its own for each sandbox, in user space.
    Gvisor,
}

/// How strong the wall is between a function and the host, the weaker first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Strength {
    /// Functions call the host's kernel, through a filter.
    SharedKernel,
    /// A kernel in user space answers them, and calls the host's kernel itself, through a narrower filter.
    UserSpaceKernel,
}

/// Which isolations a function runs on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IsolationChoice {
    One(Isolation),
    /// Several at once, each with its share of the calls, percent. The shares are 1 or more and sum up to 100.
    Shares(BTreeMap<Isolation, u8>),
    /// The cheapest one that works here and is as strong as the function asks for at least.
    Auto,
}

/// An isolation that nobody knows, or shares that are none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidChoice {
    #[error(transparent)]
    Unknown(#[from] InvalidId),
    #[error("{0:?} is not valid: expected an isolation, auto, or shares of the calls like namespace=90,gvisor=10")]
    Form(String),
    #[error("the shares of the calls sum up to {0}: expected 100 percent, each isolation with 1 or more")]
    Sum(u32),
}

// === impl Isolation ===

impl Isolation {
    /// All there are, the cheaper first: by what a cold start takes and what an instance weighs
    /// (`hearth compare` measures both).
    pub const ALL: &[Isolation] = &[Isolation::Namespace, Isolation::Docker, Isolation::Gvisor];

    pub fn as_str(self) -> &'static str {
        match self {
            Isolation::Namespace => "namespace",
            Isolation::Docker => "docker",
            Isolation::Gvisor => "gvisor",
        }
    }

    pub fn strength(self) -> Strength {
        match self {
            Isolation::Namespace | Isolation::Docker => Strength::SharedKernel,
            Isolation::Gvisor => Strength::UserSpaceKernel,
        }
    }

    /// Whether it is as strong as another one, or stronger.
    pub fn meets(self, floor: Option<Isolation>) -> bool {
        floor.is_none_or(|floor| self.strength() >= floor.strength())
    }
}

impl fmt::Display for Isolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Isolation {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        Isolation::ALL.iter().copied().find(|i| i.as_str() == text).ok_or_else(|| InvalidId {
            what: "isolation",
            given: text.chars().take(40).collect(),
            expected: "namespace, docker or gvisor",
        })
    }
}

// === impl IsolationChoice ===

impl IsolationChoice {
    /// The isolations that are named, each with its share of the calls; none for `auto`.
    pub fn named(&self) -> Vec<(Isolation, u8)> {
        match self {
            Self::One(isolation) => vec![(*isolation, 100)],
            Self::Shares(shares) => shares.iter().map(|(isolation, share)| (*isolation, *share)).collect(),
            Self::Auto => vec![],
        }
    }

    /// What calls run on, with their shares. `works` says which isolations do. Those that a function names it gets,
    /// working or not: nothing takes another one's place. Where none is strong enough and works, `auto` is the cheapest
    /// that would be, so that calls fail for its reason.
    pub fn resolve(&self, floor: Option<Isolation>, works: impl Fn(Isolation) -> bool) -> Vec<(Isolation, u8)> {
        if *self != Self::Auto {
            return self.named();
        }
        let strong = || Isolation::ALL.iter().copied().filter(|one| one.meets(floor));
        let chosen = strong().find(|one| works(*one)).or_else(|| strong().next());
        chosen.map(|one| (one, 100)).into_iter().collect()
    }

    fn checked(shares: BTreeMap<Isolation, u8>) -> Result<Self, InvalidChoice> {
        let sum = shares.values().map(|share| u32::from(*share)).sum();
        if sum != 100 || shares.values().any(|share| *share == 0) {
            return Err(InvalidChoice::Sum(sum));
        }
        Ok(Self::Shares(shares))
    }
}

impl From<Isolation> for IsolationChoice {
    fn from(isolation: Isolation) -> Self {
        Self::One(isolation)
    }
}

impl fmt::Display for IsolationChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(isolation) => isolation.fmt(f),
            Self::Auto => f.write_str("auto"),
            Self::Shares(shares) => {
                let parts: Vec<_> = shares.iter().map(|(isolation, share)| format!("{isolation}={share}")).collect();
                f.write_str(&parts.join(","))
            }
        }
    }
}

impl FromStr for IsolationChoice {
    type Err = InvalidChoice;
    fn from_str(text: &str) -> Result<Self, InvalidChoice> {
        match text.trim() {
            "auto" => Ok(Self::Auto),
            one if !one.contains(['=', ',']) => Ok(Self::One(one.parse()?)),
            shares => {
                let form = || InvalidChoice::Form(text.chars().take(80).collect());
                let mut found = BTreeMap::new();
                for part in shares.split(',') {
                    let (name, share) = part.split_once('=').ok_or_else(form)?;
                    let share = share.trim().trim_end_matches('%').parse().map_err(|_| form())?;
                    if found.insert(name.trim().parse()?, share).is_some() {
                        return Err(form());
                    }
                }
                Self::checked(found)
            }
        }
    }
}

impl Serialize for IsolationChoice {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Shares(shares) => shares.serialize(to),
            other => to.collect_str(other),
        }
    }
}

impl<'de> Deserialize<'de> for IsolationChoice {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Choice;
        impl<'de> serde::de::Visitor<'de> for Choice {
            type Value = IsolationChoice;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an isolation, auto, or shares of the calls like { namespace = 90, gvisor = 10 }")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<IsolationChoice, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<IsolationChoice, A::Error> {
                use serde::de::Error;
                let mut shares = BTreeMap::new();
                while let Some((name, share)) = map.next_entry::<String, u8>()? {
                    shares.insert(name.parse().map_err(A::Error::custom)?, share);
                }
                IsolationChoice::checked(shares).map_err(A::Error::custom)
            }
        }
        from.deserialize_any(Choice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> IsolationChoice {
        text.parse().unwrap()
    }

    #[test]
    fn reads_what_it_writes() {
        for text in ["namespace", "auto", "namespace=90,gvisor=10"] {
            let choice = read(text);
            assert_eq!(choice.to_string(), text);
            let json = serde_json::to_string(&choice).unwrap();
            assert_eq!(serde_json::from_str::<IsolationChoice>(&json).unwrap(), choice, "{json}");
        }
        let map = r#"{"namespace":90,"gvisor":10}"#;
        assert_eq!(serde_json::from_str::<IsolationChoice>(map).unwrap(), read("namespace=90%, gvisor=10%"));
    }

    #[test]
    fn what_is_no_choice_says_why() {
        for (bad, named) in [
            ("prayer", "namespace, docker or gvisor"),
            ("namespace=90", "sum up to 90"),
            ("namespace=100,gvisor=0", "1 or more"),
            ("namespace=x", "like namespace=90,gvisor=10"),
            ("namespace=50,namespace=50", "like namespace=90,gvisor=10"),
            ("namespace,gvisor", "like namespace=90,gvisor=10"),
        ] {
            let error = bad.parse::<IsolationChoice>().unwrap_err().to_string();
            assert!(error.contains(named), "{bad}: {error}");
        }
        assert!(serde_json::from_str::<IsolationChoice>(r#"{"gvisor":300}"#).is_err());
    }

    #[test]
    fn auto_is_the_cheapest_that_works_and_is_strong_enough() {
        let works = |which: &'static [Isolation]| move |one| which.contains(&one);
        let auto = |floor, which| IsolationChoice::Auto.resolve(floor, works(which));
        assert_eq!(auto(None, Isolation::ALL), [(Isolation::Namespace, 100)]);
        assert_eq!(auto(None, &[Isolation::Docker, Isolation::Gvisor]), [(Isolation::Docker, 100)]);
        assert_eq!(auto(Some(Isolation::Gvisor), Isolation::ALL), [(Isolation::Gvisor, 100)]);
        // Rather none than a weaker one: gvisor does not work, and says so.
        assert_eq!(
            auto(Some(Isolation::Gvisor), &[Isolation::Namespace, Isolation::Docker]),
            [(Isolation::Gvisor, 100)]
        );
    }

    #[test]
    fn nothing_takes_the_place_of_an_isolation_that_is_named() {
        let none = |_| false;
        assert_eq!(read("gvisor").resolve(None, none), [(Isolation::Gvisor, 100)]);
        let shares = [(Isolation::Namespace, 90), (Isolation::Gvisor, 10)];
        assert_eq!(read("namespace=90,gvisor=10").resolve(None, |one| one == Isolation::Namespace), shares);
    }
}
