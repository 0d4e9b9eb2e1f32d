//! Secrets as the engine delivers them: told to the bootstrap alone, new where they changed, missed by name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use model::{FaultCode, SecretName, SecretValue};
use store::{SecretValues, StoreError};

use crate::world::World;

/// Each with its version.
#[derive(Default)]
struct Shelf(Mutex<BTreeMap<SecretName, (u64, Vec<u8>)>>);

impl Shelf {
    fn set(&self, name: &str, version: u64, value: &[u8]) {
        self.0.lock().unwrap().insert(name.parse().unwrap(), (version, value.to_vec()));
    }
}

#[async_trait]
impl SecretValues for Shelf {
    async fn secret_versions(&self) -> Result<BTreeMap<SecretName, u64>, StoreError> {
        Ok(self.0.lock().unwrap().iter().map(|(name, (version, _))| (name.clone(), *version)).collect())
    }

    async fn reveal(&self, names: BTreeSet<SecretName>) -> Result<BTreeMap<SecretName, SecretValue>, StoreError> {
        let shelf = self.0.lock().unwrap();
        let one = |name: SecretName| {
            let value = SecretValue::new(shelf.get(&name)?.1.clone()).unwrap();
            Some((name, value))
        };
        Ok(names.into_iter().filter_map(one).collect())
    }
}

async fn world() -> (World, Arc<Shelf>) {
    let shelf = Arc::new(Shelf::default());
    shelf.set("key", 1, b"hunter2");
    let world = World::with(|options| options.secrets = shelf.clone()).await;
    let refer = |spec: &mut model::FunctionSpec| {
        spec.env.insert("API_KEY".into(), "key".parse::<SecretName>().unwrap().into());
        spec.secrets.insert("db/password".into(), "key".parse().unwrap());
    };
    world.deploy("f", refer).await;
    (world, shelf)
}

fn inits(world: &World) -> Vec<wire::Init> {
    world.driver.seen.inits.lock().unwrap().clone()
}

#[tokio::test]
async fn a_secret_goes_to_the_bootstrap_and_not_through_the_spawner() {
    let (world, _) = world().await;
    world.ask("f", "1").await;
    let init = inits(&world).remove(0);
    assert_eq!(init.env["API_KEY"], "hunter2");
    let [file] = &init.files[..] else { panic!("{:?}", init.files) };
    assert_eq!((file.path.as_str(), file.content.as_str()), ("/run/secrets/db/password", "aHVudGVyMg=="));
    let spec = world.driver.specs.lock().unwrap()[0].clone();
    assert!(spec.secret_files && !format!("{spec:?}").contains("hunter2"));
    assert!(!format!("{init:?}").contains("hunter2") && !format!("{init:?}").contains("aHVudGVyMg"));
}

#[tokio::test]
async fn a_changed_secret_is_seen_by_the_next_call_without_a_redeploy() {
    let (world, shelf) = world().await;
    world.deploy("g", |_| {}).await;
    for name in ["f", "f", "g"] {
        world.ask(name, "1").await;
    }
    assert_eq!(world.driver.started(), 2);
    shelf.set("key", 2, b"hunter3");
    world.touch().await;
    for name in ["f", "g"] {
        world.ask(name, "1").await;
    }
    let inits = inits(&world);
    assert_eq!(inits.len(), 3, "who does not use it goes on as before");
    assert_eq!(inits[2].env["API_KEY"], "hunter3");
}

#[tokio::test]
async fn a_missing_secret_is_named_and_nothing_is_started() {
    let (world, shelf) = world().await;
    shelf.0.lock().unwrap().clear();
    world.touch().await;
    let fault = world.call("f", "1").await.unwrap_err();
    assert_eq!(fault.code, FaultCode::SecretUnusable);
    assert!(fault.message.contains("hearth secret set key"), "{fault}");
    assert_eq!(world.driver.started(), 0);
    shelf.set("key", 3, b"\xff");
    world.touch().await;
    let fault = world.call("f", "1").await.unwrap_err();
    assert!(fault.message.contains("cannot be the variable API_KEY"), "{fault}");
    shelf.set("key", 4, b"back");
    world.touch().await;
    world.ask("f", "1").await;
    assert_eq!(inits(&world)[0].env["API_KEY"], "back");
}
