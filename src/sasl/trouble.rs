//! Why a step of a login comes to nothing.

/// The text names the setting to look at and holds no secret.
#[derive(Clone, Debug)]
pub(super) enum Trouble {
    /// It stays so until somebody acts.
    Lasting(String),
    Passing(String),
}

impl From<String> for Trouble {
    fn from(why: String) -> Self {
        Self::Lasting(why)
    }
}
