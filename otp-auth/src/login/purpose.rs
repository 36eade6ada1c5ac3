//! What a code is for.

/// What a code is for: a type, so that a proof for one thing cannot be spent on another.
///
/// Its name is part of the flow cookie's seal and of the digest of the code. A program adds its own:
///
/// ```
/// use otp_auth::login::{Proven, Purpose};
///
/// enum DeleteAccount {}
///
/// impl Purpose for DeleteAccount {
///     const NAME: &'static str = "delete-account";
/// }
///
/// fn delete(account: Proven<DeleteAccount>) {}
/// ```
///
/// ```compile_fail
/// # use otp_auth::login::{Proven, SignIn, StepUp};
/// fn change_password(proof: Proven<StepUp>) {}
/// fn signed_in(proof: Proven<SignIn>) { change_password(proof) }
/// ```
pub trait Purpose: 'static {
    /// A stable name of 1 to 32 ASCII characters, unlike that of any other purpose of the deployment.
    const NAME: &'static str;
}

/// To sign in: what opens a session.
#[derive(Debug)]
pub enum SignIn {}

impl Purpose for SignIn {
    const NAME: &'static str = "sign-in";
}

/// To prove the mailbox of an address that an account is to have from now on.
#[derive(Debug)]
pub enum ChangeAddress {}

impl Purpose for ChangeAddress {
    const NAME: &'static str = "change-address";
}

/// To prove the mailbox once more before something dangerous.
#[derive(Debug)]
pub enum StepUp {}

impl Purpose for StepUp {
    const NAME: &'static str = "step-up";
}
