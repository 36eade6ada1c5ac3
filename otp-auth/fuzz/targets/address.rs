//! Any text as an address: no panic; what is taken is plain ASCII of bounded length with one `@`, is its own
//! normal form, and holds nothing that a header or a list could be made of.

#![no_main]

use libfuzzer_sys::fuzz_target;
use otp_auth::address::EmailAddress;

fuzz_target!(|text: &str| {
    let _ = EmailAddress::parse_form_field(text).map(|it| it.to_string());
    let Ok(address) = EmailAddress::parse(text) else { return };
    for form in [address.as_str(), address.key()] {
        assert!(form.len() <= 254 && form.bytes().all(|byte| byte.is_ascii_graphic()));
        assert_eq!(form.matches('@').count(), 1);
        assert!(!form.contains([',', ';', ':', '<', '>', '(', ')', '[', ']', '"', '\\', '%', '!']));
        let again = EmailAddress::parse(form).expect("a normal form is an address");
        assert_eq!((again.as_str(), again.key()), (form, address.key()));
    }
    let (local, domain) = address.as_str().split_once('@').expect("one @");
    assert!((1..=64).contains(&local.len()));
    assert_eq!(address.domain(), domain);
    assert_eq!(address.key(), address.as_str().to_ascii_lowercase());
    assert!(domain.contains('.') && domain.split('.').all(|it| (1..=63).contains(&it.len())));
    // The part before the `@` is never folded but by ASCII case.
    assert!(text.starts_with(local));
});
