//! Where the packages of a distribution come from.

use pib_plan::assemble::Arg;
use pib_plan::id::INIT;
use pib_plan::manifest::project::{Network, ProjectManifest};
use pib_plan::manifest::stage::StageManifest;
use pib_plan::variable::Variable;

use crate::project::{Error, Session, user_config};
use crate::source::Package;
use pib_debian::HostApt;

/// Returns what this machine's apt says of Debian's archives, and the user of their past.
///
/// # Errors
/// When the user's config cannot be used.
pub(crate) fn host_apt(session: &Session) -> Result<HostApt, Error> {
    Ok(HostApt::read(&session.host_root).with_past(user_config::load(session)?.snapshots))
}

/// Where packages come from.
pub(crate) struct Mirrors {
    /// Where parts fetch packages while they run.
    pub(crate) build: String,
    pub(crate) build_security: String,
    /// Where the finished device fetches packages.
    pub(crate) public: String,
    pub(crate) public_security: String,
    /// The mirrors of this machine that stand for the public ones, which are the first of each pair.
    pub(crate) own: Vec<(String, String)>,
}

impl Mirrors {
    /// Returns the mirrors of a build: the project's, else this machine's, else the distribution's. What the
    /// finished device uses does not depend on the machine that built it.
    ///
    /// An init stage that names a mirror makes a system whose packages this machine's mirrors do not have.
    ///
    /// Where pib records what parts fetch, it asks this machine's mirrors for them, and parts know the public ones: so a
    /// recording does not depend on the machine either.
    pub(crate) fn of(session: &Session, manifest: &ProjectManifest, init: Option<&StageManifest>) -> Self {
        let host = HostApt::read(&session.host_root);
        let project = &manifest.project;
        let text = |url: Option<url::Url>| url.map(|url| url.as_str().trim_end_matches('/').to_owned());
        let pair = |named: &Option<String>, host: Option<String>, default: &str| {
            let public = named.clone().unwrap_or_else(|| default.to_owned());
            let own = host.filter(|_| named.is_none());
            (public, own)
        };
        let system =
            init.and_then(|init| init.base.get(&project.os)).and_then(|recipe| recipe.mirror.clone());
        let (public, main) = match system {
            Some(own) => (project.mirror.clone().unwrap_or(own), None),
            None => pair(&project.mirror, text(host.main), pib_debian::DEFAULT_MIRROR),
        };
        let (public_security, security) =
            pair(&project.security_mirror, text(host.security), pib_debian::DEFAULT_SECURITY_MIRROR);
        let for_parts = |public: &String, own: &Option<String>| match manifest.build.network {
            Network::Recorded => public.clone(),
            Network::Open => own.clone().unwrap_or_else(|| public.clone()),
        };
        let build = for_parts(&public, &main);
        let build_security = for_parts(&public_security, &security);
        let pairs = [(&public, main), (&public_security, security)];
        let own = pairs.into_iter().filter_map(|(public, own)| Some((public.clone(), own?))).collect();
        Self { build, build_security, public, public_security, own }
    }

    /// Returns the manifest of the init stage, where it is among these packages.
    pub(crate) fn init_of(packages: &[Package]) -> Option<&StageManifest> {
        packages.iter().find(|package| package.name.as_str() == INIT).map(|package| &package.manifest)
    }

    /// Returns a variable of the project as an argument of a part.
    pub(crate) fn argument(&self, project: &ProjectManifest, variable: Variable) -> Arg {
        // Where this machine fetches packages from is no property of the image.
        let keyed = !matches!(variable, Variable::Mirror | Variable::SecurityMirror);
        let value = match variable {
            Variable::Mirror => self.build.clone(),
            Variable::SecurityMirror => self.build_security.clone(),
            Variable::PublicMirror => self.public.clone(),
            Variable::PublicSecurityMirror => self.public_security.clone(),
            other => project.variable(other).unwrap_or_default(),
        };
        Arg { name: variable.arg().to_owned(), value, keyed }
    }
}
