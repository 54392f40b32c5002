//! What an engine is asked to build.

use std::collections::BTreeMap;

use pib_plan::assemble::BuildPlan;
use pib_plan::id::StageName;

use pib_buildkit::Socket;
use pib_event::Mask;

/// A build to be done.
#[derive(Debug, Clone)]
pub struct BuildRequest<'a> {
    /// What to build: the Dockerfile, the context, the stages, the platform.
    pub plan: &'a BuildPlan,
    /// What to call the result.
    pub tag: &'a str,
    /// The labels to give it.
    pub labels: BTreeMap<String, String>,
    /// Build arguments, e.g. `http_proxy`.
    pub build_args: BTreeMap<String, String>,
    /// The stage to stop at; the last one otherwise.
    pub target: Option<&'a StageName>,
    /// Whether to run every step, whatever the engine has from before. BuildKit then forgets what its mounts keep, too.
    pub no_cache: bool,
    /// What containers that run instructions are called, where the engine can choose it: BuildKit 0.9 and newer.
    pub host_name: Option<String>,
    /// What RUN instructions may mount with `--mount=type=secret,id=...`.
    pub secrets: Vec<Secret>,
    /// A socket that RUN instructions mount, and that leads to pib; BuildKit only.
    pub socket: Option<Socket>,
    /// What RUN instructions may mount as they mount secrets, and need not be hidden.
    pub texts: Vec<Secret>,
    /// Whether RUN instructions reach no network; BuildKit only.
    pub isolated: bool,
}

/// A secret for the build. It never becomes part of a layer.
#[derive(Clone)]
pub struct Secret {
    /// The id that parts know it by.
    pub id: String,
    /// Its content.
    pub value: Vec<u8>,
}

impl<'a> BuildRequest<'a> {
    /// Returns the plain request: the whole plan, no labels, no extras.
    pub fn new(plan: &'a BuildPlan, tag: &'a str) -> Self {
        Self {
            plan,
            tag,
            labels: BTreeMap::new(),
            build_args: BTreeMap::new(),
            target: None,
            no_cache: false,
            host_name: None,
            secrets: Vec::new(),
            socket: None,
            texts: Vec::new(),
            isolated: false,
        }
    }

    /// Returns the Docker build stage to stop at.
    pub(super) fn docker_target(&self) -> Option<String> {
        self.target.map(pib_plan::build_stage::name)
    }

    /// Returns what to hide in everything that is shown.
    pub(super) fn mask(&self) -> Mask {
        let mask = Mask::default();
        for secret in &self.secrets {
            mask.hide(&secret.value);
        }
        mask
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secret").field("id", &self.id).finish_non_exhaustive()
    }
}
