//! Where the packages of a distribution come from.

use pib_plan::manifest::project::ProjectManifest;

use crate::project::Session;
use pib_debian::HostApt;

/// Where packages come from.
pub(crate) struct Mirrors {
    pub(crate) build: String,
    pub(crate) build_security: String,
    pub(crate) public: String,
    pub(crate) public_security: String,
}

impl Mirrors {
    /// Returns the mirrors of a build: the project's, else this machine's, else the distribution's. What the
    /// finished device uses does not depend on the machine that built it.
    pub(crate) fn of(session: &Session, manifest: &ProjectManifest) -> Self {
        let host = HostApt::read(&session.host_root);
        let project = &manifest.project;
        let text = |url: Option<url::Url>| url.map(|url| url.as_str().trim_end_matches('/').to_owned());
        let public = project.mirror.clone().unwrap_or_else(|| pib_debian::DEFAULT_MIRROR.to_owned());
        let public_security =
            project.security_mirror.clone().unwrap_or_else(|| pib_debian::DEFAULT_SECURITY_MIRROR.to_owned());
        let build = project.mirror.clone().or_else(|| text(host.main.clone()));
        let build_security = project.security_mirror.clone().or_else(|| text(host.security.clone()));
        Self {
            build: build.unwrap_or_else(|| public.clone()),
            build_security: build_security.unwrap_or_else(|| public_security.clone()),
            public,
            public_security,
        }
    }
}
