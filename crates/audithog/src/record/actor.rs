//! Who made a request or caused an event.

use super::limits;
use super::text::{SharedText, Text};

/// Who did it: a user, a service, an API key, nobody known, or the system itself.
///
/// ```
/// use audithog::Actor;
///
/// let actor = Actor::user("u_17").role("admin").org("acme");
/// assert_eq!(actor.user_id(), Some("u_17"));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Actor {
    pub(crate) user_id: Option<Text>,
    pub(crate) user_role: Option<Text>,
    pub(crate) org_id: Option<Text>,
    pub(crate) kind: Option<ActorType>,
    pub(crate) on_behalf_of: Option<SharedText>,
}

/// The kind of an [`Actor`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ActorType {
    /// A person.
    User,
    /// Another program with an identity of its own.
    Service,
    /// The holder of an API key.
    ApiKey,
    /// Nobody is known; the application checked.
    Anonymous,
    /// The application itself: a job, a migration.
    System,
}

impl ActorType {
    pub(crate) const ALL: [Self; 5] = [
        Self::User,
        Self::Service,
        Self::ApiKey,
        Self::Anonymous,
        Self::System,
    ];

    /// As written in rows: `user`, `service`, `api_key`, `anonymous`, `system`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Service => "service",
            Self::ApiKey => "api_key",
            Self::Anonymous => "anonymous",
            Self::System => "system",
        }
    }
}

impl Actor {
    /// A person, by the application's own user id. Ids are cut at 200 bytes.
    pub fn user(id: impl AsRef<str>) -> Self {
        Self::identified(ActorType::User, id.as_ref())
    }

    /// Another program, by its service name or client id.
    pub fn service(id: impl AsRef<str>) -> Self {
        Self::identified(ActorType::Service, id.as_ref())
    }

    /// The holder of an API key. Pass the key's id, never the key.
    pub fn api_key(id: impl AsRef<str>) -> Self {
        Self::identified(ActorType::ApiKey, id.as_ref())
    }

    /// Nobody: the application checked, and no one is signed in.
    #[must_use]
    pub fn anonymous() -> Self {
        Self {
            kind: Some(ActorType::Anonymous),
            ..Self::default()
        }
    }

    /// The application itself.
    #[must_use]
    pub fn system() -> Self {
        Self {
            kind: Some(ActorType::System),
            ..Self::default()
        }
    }

    /// The role the actor acts in, `userRole`. Cut at 200 bytes.
    #[must_use]
    pub fn role(mut self, role: impl AsRef<str>) -> Self {
        self.user_role = bounded(role.as_ref());
        self
    }

    /// The role that the actor has in the active organisation: [`role`](Self::role) and [`org`](Self::org) at once.
    ///
    /// ```
    /// use audithog::Actor;
    ///
    /// let actor = Actor::user("u_17").role_in("admin", "acme");
    /// assert_eq!(actor, Actor::user("u_17").role("admin").org("acme"));
    /// ```
    #[must_use]
    pub fn role_in(self, role: impl AsRef<str>, org: impl AsRef<str>) -> Self {
        self.role(role).org(org)
    }

    /// The active organisation, `orgId`. Cut at 200 bytes.
    #[must_use]
    pub fn org(mut self, org: impl AsRef<str>) -> Self {
        self.org_id = bounded(org.as_ref());
        self
    }

    /// The person for whom the actor acts (support staff, delegated tokens). Cut at 200 bytes.
    #[must_use]
    pub fn on_behalf_of(mut self, id: impl AsRef<str>) -> Self {
        self.on_behalf_of = bounded(id.as_ref()).map(Into::into);
        self
    }

    /// The id given to [`Actor::user`], [`Actor::service`] or [`Actor::api_key`].
    #[must_use]
    pub fn user_id(&self) -> Option<&str> {
        self.user_id.as_deref()
    }

    /// The role, if one is set.
    #[must_use]
    pub fn user_role(&self) -> Option<&str> {
        self.user_role.as_deref()
    }

    /// The organisation, if one is set.
    #[must_use]
    pub fn org_id(&self) -> Option<&str> {
        self.org_id.as_deref()
    }

    /// The kind of actor, if one is set.
    #[must_use]
    pub fn actor_type(&self) -> Option<ActorType> {
        self.kind
    }

    /// The person for whom the actor acts, if one is set.
    #[must_use]
    pub fn acts_for(&self) -> Option<&str> {
        self.on_behalf_of.as_deref()
    }

    fn identified(kind: ActorType, id: &str) -> Self {
        Self {
            user_id: bounded(id),
            kind: Some(kind),
            ..Self::default()
        }
    }
}

/// Empty means not set: an empty id in a row would look like an identity.
fn bounded(text: &str) -> Option<Text> {
    let begins = text.as_bytes().first().is_some_and(u8::is_ascii_graphic);
    if !begins && text.trim().is_empty() {
        return None;
    }
    Some((&*limits::cut(text, limits::ACTOR)).into())
}
