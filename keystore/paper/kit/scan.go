package kit

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	_ "image/jpeg" // scanners make these two
	_ "image/png"
	"io"

	"github.com/makiuchi-d/gozxing"
	"github.com/makiuchi-d/gozxing/multi/qrcode"

	"github.com/takumi-backup/takumi-backup/keystore"
	"github.com/takumi-backup/takumi-backup/keystore/paper"
)

const (
	// maxImage is the greatest size of an image file, in bytes.
	maxImage = 64 << 20
	// maxPixels is that of the image. A page of A4 at 600 dots for an inch has
	// 35 million.
	maxPixels = 40_000_000
)

// Why an image gives nothing, for errors.Is.
var (
	// ErrImage means that it is not an image that Scan reads.
	ErrImage = errors.New("no PNG or JPEG image that can be read")

	// ErrNoCode means that no QR code was made out in it.
	ErrNoCode = errors.New("no QR code can be made out in it")
)

// Scan reads the QR codes of one image, PNG or JPEG, of at most 64 MiB and 40
// million pixels, and returns the keys and shares in them. A code of a key alone, as
// qrencode makes it of a key file, is a key too. The error wraps ErrImage or
// ErrNoCode, or is one of paper.Parse's, or the *keystore.Error of what the code
// holds in their place. Of several codes in an image all are found as a rule, and that
// is not promised.
func Scan(r io.Reader) ([]*paper.Block, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxImage+1))
	defer clear(data)
	switch {
	case err != nil:
		return nil, err
	case len(data) > maxImage:
		return nil, fmt.Errorf("%w: it has more than %d MiB", ErrImage, maxImage>>20)
	}
	// The size is known before memory for the image is taken.
	config, _, err := image.DecodeConfig(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrImage, err)
	}
	if int64(config.Width)*int64(config.Height) > maxPixels {
		return nil, fmt.Errorf("%w: it has %d by %d pixels, and more than %d million are refused", ErrImage, config.Width, config.Height, maxPixels/1_000_000)
	}
	img, _, err := image.Decode(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrImage, err)
	}
	text := decode(img)
	defer clear(text)
	if text == nil {
		return nil, ErrNoCode
	}
	blocks, err := paper.Parse(text)
	if !errors.Is(err, paper.ErrNone) {
		return blocks, err
	}
	key, err := keystore.Import("-", text)
	if err != nil {
		err.(*keystore.Error).URI = "in the QR code"
		return nil, err
	}
	defer key.Wipe()
	return []*paper.Block{paper.NewKey(key)}, nil
}

// decode returns the text of the codes in the image, a line for each, or nil. It
// looks at the image as it is, and then with half of the pixels, and a quarter:
// a reader that wants edges is led astray by the grain of a fine scan.
func decode(img image.Image) (text []byte) {
	hints := map[gozxing.DecodeHintType]any{gozxing.DecodeHintType_TRY_HARDER: true}
	source := gozxing.NewLuminanceSourceFromImage(img)
	for range 3 {
		for _, binarizer := range []gozxing.Binarizer{gozxing.NewHybridBinarizer(source), gozxing.NewGlobalHistgramBinarizer(source)} {
			bitmap, err := gozxing.NewBinaryBitmap(binarizer)
			if err != nil {
				return nil
			}
			// The reader for several codes, because the one for a single code
			// takes the first three corners it finds, and in one of a hundred
			// of our codes something looks like a fourth.
			found, err := qrcode.NewQRCodeMultiReader().DecodeMultiple(bitmap, hints)
			if err != nil {
				continue
			}
			for _, result := range found {
				text = append(append(text, result.GetText()...), '\n')
			}
			if text != nil {
				return text
			}
		}
		if source = half(source); source == nil {
			break
		}
	}
	return nil
}

// half returns an image of half the width and height, or nil for one that has no
// pixels to spare.
func half(source gozxing.LuminanceSource) gozxing.LuminanceSource {
	width, height := source.GetWidth()/2, source.GetHeight()/2
	if width < 100 || height < 100 {
		return nil
	}
	img := image.NewGray(image.Rect(0, 0, width, height))
	grey := source.GetMatrix()
	for y := range height {
		for x := range width {
			at := 2*y*source.GetWidth() + 2*x
			below := at + source.GetWidth()
			img.Pix[y*img.Stride+x] = byte((int(grey[at]) + int(grey[at+1]) + int(grey[below]) + int(grey[below+1])) / 4)
		}
	}
	return gozxing.NewLuminanceSourceFromImage(img)
}
