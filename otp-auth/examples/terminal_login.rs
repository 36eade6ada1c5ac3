//! Signs you in, in the terminal: asks for an address, shows the code that a mail would carry, asks for
//! the code, and prints the verified identity. Addresses at `example.jp` are admitted.
//!
//! Run: `cargo run -p sekimori-otp-auth --example terminal_login`
//!
//! You should see `code for alice@example.jp: 482 913 (valid 10 min)`, and after typing the code
//! `signed in as alice@example.jp`. Try `bob@evil.test`: the same question, and no code.
#![expect(clippy::print_stdout, reason = "the terminal is the user interface")]

use std::error::Error;
use std::io::{Write, stdin, stdout};
use std::sync::Arc;
use std::time::SystemTime;

use otp_auth::address::EmailAddress;
use otp_auth::keys::{KeyRing, KeySet, SigningKey};
use otp_auth::locale::Locale;
use otp_auth::login::{Admission, Begin, Begun, Login, Proven, Verdict};
use otp_auth::mail::TerminalMailer;
use otp_auth::random::SystemRandom;
use otp_auth::secret::Pepper;
use otp_auth::session::{Issuer, OrgVerifier, Revocations};
use otp_auth::store::MemoryStore;
use otp_auth::timestamp::Timestamp;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let random = SystemRandom::new();
    let login = Login::builder(
        Arc::new(MemoryStore::new()),
        Pepper::generate(&random)?,
        Arc::new(random.clone()),
        "auth.example.jp".parse()?,
    )
    .build()?;
    let keys = KeyRing::new(KeySet::new(SigningKey::generate(&random)?, now()));
    let issuer = Issuer::new(keys, Arc::new(random), "https://auth.example.jp")?;

    let begun = begin(&login).await?;
    let Some(proven) = submit(&login, &begun).await? else { return Ok(()) };
    let session = issuer.org_token(proven, Revocations::new().epoch(now()).await?, now())?;

    let verifier = OrgVerifier::new(
        Arc::new(issuer.keys().clone()),
        issuer.issuer(),
        issuer.org_audience().clone(),
    );
    let person = verifier.verify(session.token.expose(), now())?;
    println!("signed in as {} ({})", person.email(), person.subject());
    Ok(())
}

async fn begin(login: &Login) -> Result<Begun, Box<dyn Error>> {
    let address = EmailAddress::parse_form_field(&ask("e-mail address: ")?)?;
    let is_admitted = address.domain() == "example.jp";
    let admission = if is_admitted { Admission::Admitted } else { Admission::Denied };
    let sign_in = Begin::new(address, admission, "127.0.0.1".parse()?, "app.example.jp".parse()?);
    let (begun, dispatch) = login.begin(&sign_in, now()).await?;
    println!("If that address may enter, a code is on its way.");
    // A server answers here and delivers in a task of its own.
    dispatch.deliver(&TerminalMailer::stdout()).await?;
    Ok(begun)
}

async fn submit(login: &Login, begun: &Begun) -> Result<Option<Proven>, Box<dyn Error>> {
    let (nonce, cookie) = (begun.nonce.to_string(), begun.flow_cookie.expose());
    loop {
        let verdict = login.submit(&nonce, &cookie, &ask("code: ")?, now()).await?;
        println!("{}", verdict.message(Locale::En));
        match verdict {
            Verdict::Proven(proven) => return Ok(Some(proven)),
            Verdict::StartOver(_) => return Ok(None),
            Verdict::Again(_) | Verdict::Malformed(_) => {}
        }
    }
}

fn ask(question: &str) -> Result<String, Box<dyn Error>> {
    print!("{question}");
    stdout().flush()?;
    let mut line = String::new();
    if stdin().read_line(&mut line)? == 0 {
        return Err("end of input".into());
    }
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

#[expect(clippy::disallowed_methods, reason = "a program reads the clock at its edge")]
fn now() -> Timestamp {
    SystemTime::now().into()
}
