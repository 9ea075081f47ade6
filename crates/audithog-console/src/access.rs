//! Who may see what.

/// What a request may see and do. The console asks for it on every request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    pub(crate) scope: Scope,
    pub(crate) operates: bool,
    pub(crate) by: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    All,
    Org(String),
    Deny,
}

impl Access {
    /// It may read the whole log. `by` names who asks.
    pub fn all(by: impl Into<String>) -> Self {
        Self {
            scope: Scope::All,
            operates: false,
            by: by.into(),
        }
    }

    /// It may read the rows of this organisation, those whose `org_id` is exactly this, and nothing that is made of others. The health of
    /// the log is not shown. `by` names who asks.
    pub fn org(id: impl Into<String>, by: impl Into<String>) -> Self {
        Self {
            scope: Scope::Org(id.into()),
            ..Self::all(by)
        }
    }

    /// It may see nothing.
    #[must_use]
    pub fn deny() -> Self {
        Self {
            scope: Scope::Deny,
            ..Self::all("")
        }
    }

    /// It may also send dead letters again and dismiss them, if it may read the whole log.
    #[must_use]
    pub fn operating(self) -> Self {
        Self {
            operates: true,
            ..self
        }
    }

    pub(crate) fn sees_all(&self) -> bool {
        self.scope == Scope::All
    }

    pub(crate) fn may_operate(&self) -> bool {
        self.operates && self.sees_all()
    }
}
