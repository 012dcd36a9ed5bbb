package anchor

import (
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/minio/minio-go/v7/pkg/s3utils"

	"github.com/runledger/runledger/evidence"
)

// Spec is where an anchor is: one of its fields is set.
type Spec struct {
	Dir string
	S3  *S3Config
}

// S3Config is where and how an anchor in a bucket is reached. Credentials are not part
// of it: they come from the environment, as they do for other S3 clients.
type S3Config struct {
	Bucket string
	// Prefix is put before the keys, without slashes at its ends. "" is the whole bucket.
	Prefix string
	// Endpoint is the URL of the service, https unless it says http. Default:
	// AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, else Amazon's.
	Endpoint string
	// Region of the bucket. Default: AWS_REGION, AWS_DEFAULT_REGION; else Amazon is
	// asked, and another service is told us-east-1.
	Region string
	// Rights is what access it takes, said where it is denied.
	Rights string
	// Timeout bounds one request. Default 5 s.
	Timeout time.Duration
	// Patience bounds one operation with all its repetitions. A log takes no writes
	// while its anchor cannot be read. Default 10 s.
	Patience time.Duration
}

// Parse reads the specification of an anchor: a path, or
//
//	s3://BUCKET/PREFIX?endpoint=URL&region=REGION
//
// where all but the bucket may be left out. The error wraps evidence.ErrInvalid and
// does not repeat what may be a secret.
func Parse(spec string) (Spec, error) {
	s, err := ParseSpec(spec)
	if err != nil {
		return s, fmt.Errorf("anchor: %w", err)
	}
	return s, nil
}

// ParseSpec is Parse for what is not an anchor: the error does not say that it is one.
func ParseSpec(spec string) (Spec, error) {
	scheme, _, isURL := strings.Cut(spec, "://")
	switch {
	case spec == "":
		return Spec{}, invalid("a directory or s3://BUCKET/PREFIX is needed")
	case !isURL:
		return Spec{Dir: spec}, nil
	case scheme != "s3":
		return Spec{}, invalid("%q is not known; it is a directory or s3://BUCKET/PREFIX", scheme+"://")
	}
	u, err := url.Parse(spec)
	if err != nil {
		return Spec{}, invalid("the s3:// address cannot be read") // the cause quotes it
	}
	if u.User != nil {
		return Spec{}, invalid("credentials do not belong into the address; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
	}
	if u.Fragment != "" {
		return Spec{}, invalid("the s3:// address has a part behind #")
	}
	c := S3Config{Bucket: u.Host, Prefix: strings.Trim(u.Path, "/")}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return Spec{}, invalid("the parameters of the s3:// address cannot be read")
	}
	for name, values := range query {
		if len(values) != 1 || values[0] == "" {
			return Spec{}, invalid("parameter %q must stand once, with a value", name)
		}
		switch name {
		case "endpoint":
			c.Endpoint = values[0]
		case "region":
			c.Region = values[0]
		default:
			return Spec{}, invalid("parameter %q is not known; there are endpoint and region", name)
		}
	}
	if err := c.check(); err != nil {
		return Spec{}, err
	}
	return Spec{S3: &c}, nil
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{evidence.ErrInvalid}, args...)...)
}

// check looks at what needs no environment.
func (c *S3Config) check() error {
	if err := s3utils.CheckValidBucketNameStrict(c.Bucket); err != nil {
		return invalid("bucket %q: %v", c.Bucket, err)
	}
	for part := range strings.SplitSeq(c.Prefix, "/") {
		if c.Prefix != "" && !plain(part) {
			return invalid("prefix %q must be of letters, digits and - _ . between single slashes", c.Prefix)
		}
	}
	if c.Region != "" && !plain(c.Region) {
		return invalid("region %q", c.Region)
	}
	_, _, err := splitEndpoint(c.Endpoint)
	return err
}

// plain reports whether s means the same in a key, a URL and a list of keys.
func plain(s string) bool {
	return s != "" && s != "." && s != ".." && strings.IndexFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-_.", r)
	}) < 0
}

// splitEndpoint returns the host and port of an endpoint, and whether it is https.
func splitEndpoint(endpoint string) (host string, secure bool, err error) {
	if endpoint == "" {
		return "", true, nil
	}
	if !strings.Contains(endpoint, "://") {
		endpoint = "https://" + endpoint
	}
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "http" && u.Scheme != "https" ||
		strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return "", false, invalid("endpoint must be a URL of scheme and host, such as https://s3.example.org:9000")
	}
	return u.Host, u.Scheme == "https", nil
}

// complete fills in what the configuration leaves to the environment.
func (c *S3Config) complete() error {
	if c.Endpoint == "" {
		c.Endpoint = firstEnv("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
	}
	if c.Region == "" {
		c.Region = firstEnv("AWS_REGION", "AWS_DEFAULT_REGION")
	}
	if err := c.check(); err != nil {
		return err
	}
	if c.Region == "" && c.Endpoint != "" && !strings.Contains(c.Endpoint, ".amazonaws.com") {
		c.Region = "us-east-1" // what services that have no regions expect
	}
	if c.Timeout <= 0 {
		c.Timeout = 5 * time.Second
	}
	if c.Patience <= 0 {
		c.Patience = 10 * time.Second
	}
	return nil
}

func firstEnv(names ...string) string {
	for _, name := range names {
		if v := os.Getenv(name); v != "" {
			return v
		}
	}
	return ""
}

// String is the address without what the environment adds.
func (c *S3Config) String() string {
	s := "s3://" + c.Bucket
	if c.Prefix != "" {
		s += "/" + c.Prefix
	}
	return s
}
