//! No secret in any `Debug` or `Display` output.

mod support;

use std::sync::Arc;

use otp_auth::challenge::FlowCookie;
use otp_auth::code::{CodeInput, CodeLength};
use otp_auth::keys::{KeyRing, KeySet, SigningKey};
use otp_auth::login::{Admission, Verdict};
use otp_auth::random::{Random, SystemRandom};
use otp_auth::secret::{Pepper, Secret};
use otp_auth::session::{
    AppGrant, AppVerifier, Epoch, Issuer, OrgVerifier, Revocations, StateSigner,
};
use otp_auth::store::{MemoryStore, Reserved, Store};
use otp_auth::token::Audience;
use support::{START, login_with, sign_in};

#[tokio::test]
async fn nothing_printed_holds_a_code_key_cookie_or_token() {
    let random = SystemRandom::new();
    let store = Arc::new(MemoryStore::new());
    let login = login_with(store.clone());
    let request = sign_in("alice@example.jp", Admission::Admitted);
    let (begun, dispatch) = login.begin(&request, START).await.unwrap();
    let mail = dispatch.mail().unwrap();
    let code = mail.code().expose().to_owned();
    let cookie = begun.flow_cookie.expose();
    let mut printed = vec![
        format!("{begun:?} {:?}", cookie.parse::<FlowCookie>()),
        format!("{dispatch:?} {} {mail:?} {:?}", dispatch.describe(), mail.code()),
        format!("{login:?} {store:?} {request:?}"),
        format!("{:?}", CodeInput::parse(&code, CodeLength::Six)),
    ];
    let reserved: Reserved = store.reserve(begun.nonce, START).await.unwrap();
    printed.push(format!("{reserved:?}"));

    let nonce = begun.nonce.to_string();
    let verdict = login.submit(&nonce, &cookie, &code, START).await.unwrap();
    printed.push(format!("{verdict:?}"));
    let Verdict::Proven(proven) = verdict else { panic!("refused") };

    let key = SigningKey::generate(&random).unwrap();
    let pkcs8 = key.to_pkcs8();
    printed.push(format!("{key:?} {pkcs8:?} {:?}", key.verifying_key()));
    let keys = KeyRing::new(KeySet::new(key, START));
    let issuer = Issuer::new(keys.clone(), Arc::new(random.clone()), "https://a.example").unwrap();
    let session = issuer.org_token(proven, Epoch::at(START), START).unwrap();
    let audience: Audience = "app-1".parse().unwrap();
    let token = issuer.app_token(&session.claims, &AppGrant::new(audience.clone()), START).unwrap();
    let verifier = AppVerifier::new(Arc::new(keys.clone()), issuer.issuer());
    let claims = verifier.verify(token.expose(), &audience, START).unwrap();
    let org =
        OrgVerifier::new(Arc::new(keys.clone()), issuer.issuer(), issuer.org_audience().clone());
    printed
        .push(format!("{session:?} {token:?} {keys:?} {issuer:?} {verifier:?} {claims:?} {org:?}"));

    let mut raw = [0; 32];
    random.fill(&mut raw).unwrap();
    let secret = Secret::new(raw.to_vec());
    let pepper = Pepper::new(secret.clone()).unwrap().with_previous(secret.clone()).unwrap();
    let signer = StateSigner::new(secret.clone()).unwrap();
    printed
        .push(format!("{secret:?} {secret:#?} {pepper:#?} {signer:#?} {:?}", Revocations::new()));

    let printed = printed.join("\n");
    let forms = |bytes: &[u8]| {
        let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        [hex.concat(), format!("{bytes:?}")]
    };
    let hidden = [code, cookie, token.expose().to_owned(), session.token.expose().to_owned()];
    let hidden = hidden.into_iter().chain(forms(&raw)).chain(forms(pkcs8.expose()));
    for secret in hidden {
        assert!(!printed.contains(&secret), "{secret} in\n{printed}");
    }
    assert!(printed.contains("Secret(..)") && printed.len() > 1_000);
}

#[test]
fn secrets_compare_by_content() {
    let secret = |byte| Secret::new(vec![byte; 32]);
    assert_eq!(secret(1), secret(1));
    assert_ne!(secret(1), secret(2));
    assert_ne!(secret(1), Secret::new(vec![1; 31]));
}
