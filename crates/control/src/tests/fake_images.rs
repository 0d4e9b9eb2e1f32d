//! Images, as far as the API needs any.

use std::collections::HashSet;

use model::*;

use crate::images::{Archive, ImageList, ImagePull, ImageView, Images, PullProgress, Pulling};
use crate::platform::BoxFuture;

/// One image, `here:1`, in which only Python 3.11 runs.
pub struct FakeImages;

impl Images for FakeImages {
    fn list(&self) -> ImageList {
        let digest = format!("sha256:{}", "ab".repeat(32));
        let image = ImageView { digest, names: vec!["here:1".into()], bytes: 7, ..ImageView::default() };
        ImageList { images: vec![image], bytes: 7, budget: 100 }
    }

    fn find(&self, name: &str) -> Result<ImageView, Fault> {
        let image = self.list().images.remove(0);
        let known = image.names.iter().any(|one| one == name) || image.digest == name;
        let absent = || Fault::new(FaultCode::NotFound, format!("no image {name}"));
        if known { Ok(image) } else { Err(absent()) }
    }

    fn fits(&self, _: ImageDigest, runtime: Runtime) -> BoxFuture<'_, Result<(), Fault>> {
        let fits = runtime == Runtime::python("3.11");
        let fault = Fault::new(FaultCode::RuntimeUnavailable, format!("{runtime} is not in the image"));
        Box::pin(async move { if fits { Ok(()) } else { Err(fault) } })
    }

    fn touch(&self, _: ImageDigest) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(async { Ok(()) })
    }

    fn pull(&self, pull: ImagePull, _: HashSet<ImageDigest>) -> Result<Box<dyn Pulling>, Fault> {
        Ok(Box::new(FakePull { steps: 2, result: self.find(&pull.reference) }))
    }

    fn import(
        &self,
        _: Archive,
        _: Option<String>,
        _: HashSet<ImageDigest>,
    ) -> BoxFuture<'_, Result<Box<dyn Pulling>, Fault>> {
        let pull: Box<dyn Pulling> = Box::new(FakePull { steps: 1, result: self.find("here:1") });
        Box::pin(async { Ok(pull) })
    }

    fn remove(&self, _: ImageDigest, _: HashSet<ImageDigest>) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(async { Ok(()) })
    }
}

struct FakePull {
    steps: u64,
    result: Result<ImageView, Fault>,
}

impl Pulling for FakePull {
    fn next(&mut self) -> BoxFuture<'_, Option<PullProgress>> {
        let left = self.steps;
        self.steps = left.saturating_sub(1);
        Box::pin(
            async move { (left > 0).then(|| PullProgress { phase: "unpacking".into(), ..PullProgress::default() }) },
        )
    }

    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<ImageView, Fault>> {
        Box::pin(async { self.result })
    }
}
