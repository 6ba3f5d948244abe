// A certificate that is made for a test.
#pragma once

#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <cstdio>

#include "base/file.h"

namespace revenant {

// A key and a certificate of a host that vouches for itself.
class OwnCertificate {
 public:
  explicit OwnCertificate(const std::string& host = "localhost")
      : key_(::EVP_RSA_gen(2048)), certificate_(::X509_new()) {
    ::X509_set_version(certificate_, 2);
    ::ASN1_INTEGER_set(::X509_get_serialNumber(certificate_), 1);
    ::X509_gmtime_adj(::X509_getm_notBefore(certificate_), -3600);
    ::X509_gmtime_adj(::X509_getm_notAfter(certificate_), 3600);
    ::X509_set_pubkey(certificate_, key_);
    X509_NAME* name = ::X509_get_subject_name(certificate_);
    ::X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                                 reinterpret_cast<const unsigned char*>(host.c_str()), -1, -1, 0);
    ::X509_set_issuer_name(certificate_, name);
    X509_EXTENSION* names =
        ::X509V3_EXT_conf_nid(nullptr, nullptr, NID_subject_alt_name, ("DNS:" + host).c_str());
    ::X509_add_ext(certificate_, names, -1);
    ::X509_EXTENSION_free(names);
    ::X509_sign(certificate_, key_, ::EVP_sha256());
  }
  ~OwnCertificate() { ::X509_free(certificate_), ::EVP_PKEY_free(key_); }
  OwnCertificate(const OwnCertificate&) = delete;

  void write(const Path& file) const {
    std::FILE* out = std::fopen(file.c_str(), "w");
    ::PEM_write_X509(out, certificate_);
    std::fclose(out);
  }
  void write_key(const Path& file) const {
    write_file(file, "", 0600);
    std::FILE* out = std::fopen(file.c_str(), "w");
    ::PEM_write_PrivateKey(out, key_, nullptr, nullptr, 0, nullptr, nullptr);
    std::fclose(out);
  }
  SSL_CTX* context() const {
    SSL_CTX* context = ::SSL_CTX_new(::TLS_server_method());
    ::SSL_CTX_use_certificate(context, certificate_);
    ::SSL_CTX_use_PrivateKey(context, key_);
    return context;
  }

 private:
  EVP_PKEY* key_;
  X509* certificate_;
};

}  // namespace revenant
